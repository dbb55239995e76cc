package sbom

import (
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"fmt"
	"io"
	"os"
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
	list := []Component{
		{Kind: Program, Name: name, Version: info.Main.Version, SHA256: hex.EncodeToString(sum.Sum(nil)), Parts: parts},
		// The name under which Go's vulnerabilities are listed.
		{Kind: Module, Name: "stdlib", Version: strings.TrimPrefix(info.GoVersion, "go"), Parts: parts, Programs: []string{name}},
	}
	if info.Main.Version == "(devel)" {
		list[0].Version = ""
	} else {
		info.Deps = append(info.Deps, &info.Main)
	}
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		list = append(list, Component{Kind: Module, Name: m.Path, Version: m.Version, Parts: parts, Programs: []string{name}})
	}
	return list, nil
}
