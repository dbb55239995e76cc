package inspect

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// The files that are read and not only hashed.
const (
	dpkgFolder = "/usr/lib/sysimage/dpkg"
	ownFolder  = "/usr/share/ingot"
	etcUnits   = "/etc/systemd/system"
	usrUnits   = "/usr/lib/systemd/system"
	ruleset    = "/etc/nftables.conf"
	osRelease  = "/usr/lib/os-release"

	modulesFolder = "/usr/lib/modules"
)

// wanted says that readFiles needs a file's content.
func wanted(name string) bool {
	switch {
	case slices.Contains([]string{dpkgFolder + "/status", "/etc/passwd", "/etc/shadow", "/etc/group", ruleset, osRelease}, name):
		return true
	case path.Dir(name) == dpkgFolder+"/info":
		return strings.HasSuffix(name, ".list")
	case path.Dir(path.Dir(name)) == modulesFolder:
		return path.Base(name) == "config"
	case path.Dir(name) == etcUnits, path.Dir(name) == usrUnits:
		return strings.HasSuffix(name, ".socket")
	case path.Dir(path.Dir(name)) == etcUnits, path.Dir(path.Dir(name)) == usrUnits:
		return strings.HasSuffix(path.Dir(name), ".socket.d")
	}
	return strings.HasPrefix(name, ownFolder+"/")
}

// readFiles draws the image's data from its files.
func (i *Image) readFiles(kept texts) error {
	for _, name := range []string{dpkgFolder + "/status", "/etc/passwd", "/etc/shadow", "/etc/group", osRelease} {
		if _, ok := kept[name]; !ok {
			return fmt.Errorf("root: %s is no file, or is not there", name)
		}
	}
	var err error
	if i.Packages, err = readStatus(string(kept[dpkgFolder+"/status"])); err != nil {
		return fmt.Errorf("%s/status: %w", dpkgFolder, err)
	}
	i.ownFiles(kept)
	if i.Users, err = readUsers(string(kept["/etc/passwd"]), string(kept["/etc/shadow"])); err != nil {
		return err
	}
	if i.Groups, err = readGroups(string(kept["/etc/group"])); err != nil {
		return err
	}
	i.Units = readUnits(i.Files)
	i.Sockets = readSockets(i.Files, i.Units, kept)
	i.Ports = readPorts(kept[ruleset])
	i.Documents = readDocuments(i.Files, kept)
	for line := range strings.Lines(string(kept[osRelease])) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "PRETTY_NAME="); ok {
			i.System = strings.Trim(name, `"`)
		}
	}
	config := kernelConfig(i.Kernel.Version)
	if n := slices.IndexFunc(i.Files, func(f File) bool { return f.Path == config }); n >= 0 {
		i.Kernel.Config, i.Kernel.Options = i.Files[n].SHA256, readOptions(string(kept[config]))
	}
	return nil
}

// kernelConfig is where a kernel's configuration is.
func kernelConfig(version string) string { return modulesFolder + "/" + version + "/config" }

// readOptions reads what is set in a kernel's configuration.
func readOptions(config string) map[string]string {
	options := map[string]string{}
	for _, line := range lines(config) {
		if name, value, ok := strings.Cut(line, "="); ok {
			options[name] = value
		}
	}
	return options
}

// Package is an installed Debian package.
type Package struct {
	Name          string `json:"name"`
	Version       string `json:"version"`
	Arch          string `json:"arch"`
	Source        string `json:"source"`
	SourceVersion string `json:"source_version"`
	// Installed is the size that the package itself states.
	Installed int64 `json:"installed_bytes"`
	Essential bool  `json:"essential,omitempty"`
	// Needs are its dependencies: of each, one of these must be there.
	Needs    [][]string `json:"needs,omitempty"`
	Provides []string   `json:"provides,omitempty"`
}

// readStatus reads dpkg's database, deb822(5).
func readStatus(text string) ([]Package, error) {
	var list []Package
	for paragraph := range strings.SplitSeq(text, "\n\n") {
		fields := fieldsOf(paragraph)
		if !strings.HasSuffix(fields["Status"], " installed") {
			continue
		}
		p := Package{Name: fields["Package"], Version: fields["Version"], Arch: fields["Architecture"], Essential: fields["Essential"] == "yes"}
		if p.Name == "" || p.Version == "" {
			return nil, fmt.Errorf("a package has no name or no version: %.80q", paragraph)
		}
		// "Source: name (version)", each left out when it is the package's own.
		source, version, _ := strings.Cut(fields["Source"], " ")
		p.Source, p.SourceVersion = cmp.Or(source, p.Name), cmp.Or(strings.Trim(version, "()"), p.Version)
		kib, _ := strconv.ParseInt(fields["Installed-Size"], 10, 32) // Debian policy 5.6.20: in KiB
		p.Installed = kib << 10
		for _, list := range []string{fields["Pre-Depends"], fields["Depends"]} {
			for group := range strings.SplitSeq(list, ",") {
				if names := alternatives(group); len(names) > 0 {
					p.Needs = append(p.Needs, names)
				}
			}
		}
		for group := range strings.SplitSeq(fields["Provides"], ",") {
			p.Provides = append(p.Provides, alternatives(group)...)
		}
		list = append(list, p)
	}
	slices.SortFunc(list, func(a, b Package) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Arch, b.Arch)) })
	return list, nil
}

// fieldsOf are the fields of a paragraph; of those with several lines, the first.
func fieldsOf(paragraph string) map[string]string {
	fields := map[string]string{}
	for line := range strings.Lines(paragraph) {
		if name, value, ok := strings.Cut(line, ":"); ok && !strings.HasPrefix(line, " ") {
			fields[name] = strings.TrimSpace(value)
		}
	}
	return fields
}

// alternatives are the names of "a (>= 1) | b:any".
func alternatives(group string) []string {
	var names []string
	for one := range strings.SplitSeq(group, "|") {
		name, _, _ := strings.Cut(strings.TrimSpace(one), " ")
		name, _, _ = strings.Cut(name, ":")
		if name != "" {
			names = append(names, name)
		}
	}
	return names
}

// ownFiles says of every file whose it is, from dpkg's lists.
func (i *Image) ownFiles(kept texts) {
	owner := map[string]string{}
	for name, list := range kept {
		if path.Dir(name) != dpkgFolder+"/info" {
			continue
		}
		p, _, _ := strings.Cut(strings.TrimSuffix(path.Base(name), ".list"), ":")
		for line := range strings.Lines(string(list)) {
			owner[installedAt(strings.TrimSpace(line))] = p
		}
	}
	for n := range i.Files {
		if f := &i.Files[n]; f.Type != "directory" {
			f.Package = cmp.Or(owner[f.Path], owner[source(f.Path)], infoOf(f.Path))
		}
	}
}

var bytecode = regexp.MustCompile(`^(.*/)__pycache__/([^/.]+)\.[^/]*\.pyc$`)

// source is the file that a package's script compiled to Python bytecode.
func source(name string) string { return bytecode.ReplaceAllString(name, "$1$2.py") }

// infoOf is the package that an entry of dpkg's database is about.
func infoOf(name string) string {
	if path.Dir(name) != dpkgFolder+"/info" {
		return ""
	}
	base := path.Base(name)
	p, _, _ := strings.Cut(strings.TrimSuffix(base, path.Ext(base)), ":")
	return p
}

// installedAt is where a package's path is in an image: /bin and the like are
// links into /usr, what was in /var is in the factory, and the kernel's
// configuration is with its modules.
func installedAt(name string) string {
	for _, top := range []string{"/bin/", "/sbin/", "/lib/", "/lib64/"} {
		if strings.HasPrefix(name, top) {
			return "/usr" + name
		}
	}
	if strings.HasPrefix(name, "/var/") {
		return "/usr/share/factory" + name
	}
	if version, ok := strings.CutPrefix(name, "/boot/config-"); ok {
		return kernelConfig(version)
	}
	return name
}

// readDocuments lists what the build says of itself.
func readDocuments(files []File, kept texts) []Document {
	list := []Document{}
	for _, f := range files {
		b, ok := kept[f.Path]
		if !ok || !strings.HasPrefix(f.Path, ownFolder+"/") {
			continue
		}
		d := Document{Path: f.Path, Kind: kindOf(b), Bytes: f.Bytes, SHA256: f.SHA256}
		if json.Valid(b) {
			d.Content = b
		}
		list = append(list, d)
	}
	return list
}

func kindOf(b []byte) string {
	var marks struct {
		SPDX      string `json:"spdxVersion"`
		BOM       string `json:"bomFormat"`
		Spec      string `json:"specVersion"`
		Statement string `json:"_type"`
		Predicate string `json:"predicateType"`
	}
	if err := json.Unmarshal(b, &marks); err != nil && !json.Valid(b) {
		return "text"
	}
	switch {
	case marks.SPDX != "":
		return marks.SPDX
	case marks.BOM != "":
		return marks.BOM + "-" + marks.Spec
	case marks.Predicate != "" || marks.Statement != "":
		return cmp.Or(marks.Predicate, marks.Statement)
	}
	return "JSON"
}

// lines are the lines of a text, without comments and blanks.
func lines(text string) []string {
	var list []string
	s := bufio.NewScanner(strings.NewReader(text))
	s.Buffer(nil, maxKept)
	for s.Scan() {
		if line := strings.TrimSpace(s.Text()); line != "" && line[0] != '#' {
			list = append(list, line)
		}
	}
	return list
}
