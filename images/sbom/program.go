package sbom

import (
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
)

// ReadProgram is a Go program and the modules that it was linked from, its own
// among them where that is published.
func ReadProgram(file, name string, parts ...string) ([]Component, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return nil, err
	}
	info, err := buildinfo.Read(f)
	if err != nil {
		return nil, fmt.Errorf("read what %s was built from: %w", name, err)
	}
	return linked(info, name, hex.EncodeToString(sum.Sum(nil)), parts), nil
}

// goRelease is a toolchain's version as databases of vulnerabilities have it:
// that of "go1.27rc1 X:experiment" is 1.27.0-rc.1.
func goRelease(version string) string {
	version, _, _ = strings.Cut(strings.TrimPrefix(version, "go"), " ")
	return candidate.ReplaceAllString(version, "$1.0-$2.$3")
}

var candidate = regexp.MustCompile(`^([0-9]+\.[0-9]+)(beta|rc)([0-9]+)$`)

// linked is what a program says about itself.
func linked(info *debug.BuildInfo, name, sum string, parts []string) []Component {
	list := []Component{
		{Kind: Program, Name: name, Version: info.Main.Version, SHA256: sum, Parts: parts},
		// The name under which Go's vulnerabilities are listed.
		{Kind: Module, Name: "stdlib", Version: goRelease(info.GoVersion), Parts: parts, Programs: []string{name}},
	}
	modules := info.Deps
	if info.Main.Version == "(devel)" {
		list[0].Version = ""
	} else if info.Main.Version != "" {
		modules = append(slices.Clone(modules), &info.Main)
	}
	for _, m := range modules {
		if m.Replace != nil {
			m = m.Replace
		}
		list = append(list, Component{Kind: Module, Name: m.Path, Version: m.Version, Parts: parts, Programs: []string{name}})
	}
	return list
}
