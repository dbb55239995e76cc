// Package containers is the layer of the containers: a compose file becomes
// Podman's Quadlet units, which systemd runs. There is no daemon, and nothing is
// pulled or built on the machine.
package containers

import (
	"fmt"
	"os"
	"path"
	"strings"

	"ingot/config/document"
	"ingot/layers"
	"ingot/layers/containers/compose"
)

// Options of the layer.
type Options struct {
	// Compose is the compose file, ./compose.yaml by default. Paths in it begin at
	// its folder, and lead to nothing outside of it.
	Compose string `yaml:"compose"`
	// Profiles are the compose file's profiles that are on; none by default.
	Profiles []string `yaml:"profiles"`
	// EnvFile is a file beside the compose file with lines of NAME=value, which
	// ${NAME} in it stands for. Without it only defaults, ${NAME:-value}, do: the
	// environment of whoever builds is never read.
	EnvFile string `yaml:"envFile"`
	// Images say which of the compose file's images come from here; all others are
	// those of a registry.
	Images []Source `yaml:"images"`
	// Allow are the safe defaults that a service may give up: no capabilities, a
	// read-only root, a user namespace of its own, limits. What the compose file
	// asks for and is not listed here is a mistake, and so is what is listed here
	// and nobody asks for.
	Allow []Allow `yaml:"allow"`
}

// Source is where an image comes from that no registry has: either packages or an
// archive.
type Source struct {
	// Image is the name that the compose file has for it, such as
	// localhost/downloader.
	Image string `yaml:"image" ingot:"required"`
	// Packages are the Debian packages that Ingot makes it of, with all that they
	// need and nothing else: no shell unless one is named. They come from the lock.
	// Containers run as the account 65532 unless the compose file says user.
	Packages []string `yaml:"packages"`
	// Archive is a file of docker save or podman save, or a folder in OCI's image
	// layout, beside this file or below.
	Archive string `yaml:"archive"`
}

// Allow is one safe default that one service may give up.
type Allow struct {
	// Service is its name in the compose file.
	Service string `yaml:"service" ingot:"required"`
	// What is the key and the value that the compose file gives up the default
	// with, such as cap_add=NET_BIND_SERVICE, read_only=false or network_mode=host.
	What string `yaml:"what" ingot:"required"`
	// Why says in one line why the service needs it.
	Why string `yaml:"why" ingot:"required"`
}

// KeyAdvice implements the decoder's interface of that name.
func (Options) KeyAdvice(key string) (message, advice string) {
	switch key {
	case "file", "composeFile":
		return fmt.Sprintf("unknown key %q", key), "the compose file is called compose"
	case "services":
		return key + " does not belong here", "write it into the compose file, and name that with compose"
	case "env_file", "env", "environment":
		return fmt.Sprintf("unknown key %q", key), "the file of variables is called envFile"
	}
	return "", ""
}

// DefaultCompose is the compose file that is read when none is named.
const DefaultCompose = "./compose.yaml"

// Layer is the layer with its options, and what its compose file became. [Load]
// makes it.
type Layer struct {
	Options     Options
	Translation compose.Translation
}

// Name implements [layers.Layer].
func (Layer) Name() string { return "containers" }

// Surroundings are what other layers' options have to say about the compose
// file.
type Surroundings = compose.Options

// Load reads the compose file below a folder, which findings call shown, and
// translates it. The error is that of reading it; everything else is a finding
// in the compose file.
func Load(o Options, folder *os.Root, shown string, around Surroundings) (Layer, []compose.Input, []document.Finding, error) {
	l := Layer{Options: o}
	name := l.Compose()
	below, err := folder.OpenRoot(path.Dir(name))
	if err != nil {
		return l, nil, nil, err
	}
	defer below.Close()
	project, findings, err := compose.Load(below, path.Join(shown, path.Dir(name)), compose.LoadOptions{
		File: path.Base(name), EnvFile: o.EnvFile, Profiles: o.Profiles,
	})
	if err != nil {
		return l, nil, nil, err
	}
	if len(findings) == 0 {
		around.Users = l.users()
		for _, a := range o.Allow {
			around.Allow = append(around.Allow, compose.Allow{Service: a.Service, What: a.What})
		}
		l.Translation, findings = compose.Translate(project, around)
	}
	return l, project.Inputs(), findings, nil
}

// Compose is the compose file's path below the folder of ingot.yaml.
func (l Layer) Compose() string {
	if l.Options.Compose == "" {
		return path.Clean(DefaultCompose)
	}
	return path.Clean(l.Options.Compose)
}

// Validate implements [layers.Layer]. Mistakes in the compose file are found by
// [Load], with their position there.
func (l Layer) Validate(layers.Site) []layers.Finding {
	var findings []layers.Finding
	findings = append(findings, l.validateImages()...)
	for i, a := range l.Options.Allow {
		at := []any{"allow", i}
		if message := layers.WhyProblem(a.Why); message != "" {
			message = strings.Replace(message, "an open port", "what is allowed", 1)
			findings = append(findings, layers.Finding{Path: append(at, "why"), Message: message, Advice: "say in a few words why the service needs it"})
		}
	}
	for _, i := range l.Translation.Unused {
		a := l.Options.Allow[i]
		findings = append(findings, layers.Finding{
			Path:    []any{"allow", i},
			Message: fmt.Sprintf("the service %q does not ask for %q", a.Service, a.What),
			Advice:  l.unusedAdvice(a),
		})
	}
	return findings
}

func (l Layer) unusedAdvice(a Allow) string {
	var asked []string
	for _, o := range l.Translation.Overrides {
		if o.Service == a.Service && !o.Allowed {
			asked = append(asked, o.What)
		}
	}
	if near := document.Nearest(a.What, asked); near != "" {
		return fmt.Sprintf("did you mean %s?", near)
	}
	if len(asked) > 0 {
		return "it asks for " + strings.Join(asked, ", ")
	}
	return "remove it"
}
