package ignition

import (
	"cmp"
	"path"
	"slices"
	"strings"

	"ingot/layers"
)

// hostnameFile is part of every instance, and of systemd's hostname(5).
const hostnameFile = "/etc/hostname"

// Instance returns the config that gives a machine its identity at first boot:
// the plan's instance files with the secrets filled in, and /etc/hostname. It
// may hold what the plan's identity patterns name and nothing else, which the
// machine enforces again. The error is [Findings] when layers are to blame, and
// says of a missing secret where it belongs.
func Instance(plan layers.Plan, secrets Secrets) (Config, error) {
	if found := foreign(plan); len(found) > 0 {
		return Config{}, found
	}
	files, err := fill(plan, secrets)
	if err != nil {
		return Config{}, err
	}
	f := layers.Fragment{Directories: plan.Instance.Directories, Files: append(files, hostname(plan.Site))}
	return render(f, plan.Owner)
}

func hostname(site layers.Site) layers.File {
	return layers.File{Path: hostnameFile, Mode: 0o644, Contents: cmp.Or(site.Hostname, site.Name) + "\n"}
}

// foreign reports what an instance must not hold. Links are refused wherever
// they are: one could stand for anything.
func foreign(plan layers.Plan) Findings {
	var found Findings
	refuse := func(message string, whats ...string) {
		layer := ""
		for _, what := range whats {
			layer = cmp.Or(layer, plan.Owner[what])
		}
		found = append(found, Finding{Layer: layer, What: whats[0], Message: message})
	}
	const onlyImage = "an instance holds files and directories of the identity only; make it part of the image"
	f := plan.Instance
	for _, v := range f.Files {
		if !mayHoldFile(plan.Identity, v.Path) {
			refuse("no identity pattern names this file; declare it, or make it part of the image", "file "+path.Clean(v.Path))
		}
	}
	for _, v := range f.Directories {
		if !mayHoldDirectory(plan.Identity, v.Path) {
			refuse("no identity pattern is below this directory; declare one, or make it part of the image", "directory "+path.Clean(v.Path))
		}
	}
	for _, v := range f.Links {
		refuse(onlyImage, "file "+path.Clean(v.Path))
	}
	for _, v := range f.Users {
		refuse(onlyImage, "user "+v.Name)
	}
	for _, v := range f.Groups {
		refuse(onlyImage, "group "+v.Name)
	}
	for _, v := range f.Units {
		refuse(onlyImage, claimedByUnit(nil, v)...)
	}
	for _, v := range f.KernelArguments {
		name, _, _ := strings.Cut(v, "=")
		refuse(onlyImage, "kernel argument "+name)
	}
	return found
}

func mayHoldFile(patterns []string, p string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool { return under(p) && matches(pattern, p) })
}

// mayHoldDirectory reports a directory on the way to what a pattern names.
func mayHoldDirectory(patterns []string, p string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		parts := strings.Split(pattern, "/")
		depth := strings.Count(p, "/") + 1
		return under(p) && depth < len(parts) && matches(strings.Join(parts[:depth], "/"), p)
	})
}

// under reports a path below /etc, which is all that an identity lies over.
// That it is plain is checked of every config.
func under(p string) bool { return strings.HasPrefix(p, "/etc/") }

func matches(pattern, p string) bool {
	ok, err := path.Match(pattern, p)
	return ok && err == nil
}
