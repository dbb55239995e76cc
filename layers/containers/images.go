package containers

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"

	"ingot/config/document"
	"ingot/layers"
	"ingot/layers/containers/compose"
)

// packageName is Debian policy 5.6.1.
var packageName = regexp.MustCompile(`^[a-z0-9][a-z0-9+.-]+$`)

// validateImages looks at what images are made of.
func (l Layer) validateImages() []layers.Finding {
	var findings []layers.Finding
	var used []string
	for _, i := range l.Translation.Images {
		used = append(used, i.Name)
	}
	seen := map[string]bool{}
	for i, s := range l.Options.Images {
		wrong := func(message, advice string, key ...any) {
			findings = append(findings, layers.Finding{Path: append([]any{"images", i}, key...), Message: message, Advice: advice})
		}
		full, err := compose.FullName(s.Image)
		switch {
		case err != nil:
			wrong(fmt.Sprintf("%q is not the name of an image", s.Image), "write the one of the compose file, such as localhost/downloader", "image")
		case seen[full]:
			wrong(fmt.Sprintf("the image %q is there twice", s.Image), "remove one of them", "image")
		case !slices.Contains(used, full):
			advice := "remove it, or let a service have it"
			if near := document.Nearest(full, used); near != "" {
				advice = fmt.Sprintf("did you mean %s?", near)
			}
			wrong(fmt.Sprintf("no service has the image %q", s.Image), advice, "image")
		}
		seen[full] = true
		switch {
		case len(s.Packages) == 0 && s.Archive == "":
			wrong("nothing says what the image is made of", "name packages, or an archive; remove the entry if a registry has it")
		case len(s.Packages) > 0 && s.Archive != "":
			wrong("the image is made of packages and comes from an archive", "remove one of them", "archive")
		case s.Archive != "" && (!filepath.IsLocal(s.Archive) || filepath.Clean(s.Archive) == "."):
			wrong(fmt.Sprintf("%q is not below the folder of ingot.yaml", s.Archive), "put the archive beside it or below", "archive")
		}
		for j, name := range s.Packages {
			if !packageName.MatchString(name) {
				wrong(fmt.Sprintf("%q is not the name of a package", name), "write one as apt knows it, without a version", "packages", j)
			}
		}
	}
	return findings
}

// images are those that the stack needs.
func (l Layer) images() []layers.ContainerImage {
	var list []layers.ContainerImage
	for _, i := range l.Translation.Images {
		image := layers.ContainerImage{Name: i.Name}
		if s, ok := l.source(i.Name); ok {
			image.Packages = slices.Sorted(slices.Values(s.Packages))
			image.Archive = s.Archive
		}
		list = append(list, image)
	}
	return list
}

func (l Layer) source(name string) (Source, bool) {
	for _, s := range l.Options.Images {
		if full, err := compose.FullName(s.Image); err == nil && full == name {
			return s, true
		}
	}
	return Source{}, false
}

// users are the accounts of the images that Ingot makes.
func (l Layer) users() map[string]string {
	users := map[string]string{}
	for _, s := range l.Options.Images {
		if full, err := compose.FullName(s.Image); err == nil && len(s.Packages) > 0 {
			users[full] = layers.ImageUser
		}
	}
	return users
}
