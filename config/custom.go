package config

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"regexp"

	"ingot/layers"
	"ingot/layers/custom"
)

// folderShape is what the last name of a custom layer's folder may be: it is
// the layer's name, and stands before the names of its checks.
const folderShape = `^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$`

// custom reads the folders of layers.custom.
func (d *decoder) custom(folders []string) []placed {
	var list []placed
	names := map[string]bool{}
	for i, folder := range folders {
		at := []any{"layers", "custom", i}
		name := layers.CustomPrefix + path.Base(filepath.ToSlash(folder))
		if names[name] {
			d.findings = append(d.findings, d.doc.Finding(at, false,
				fmt.Sprintf("a second custom layer is called %q", clip(path.Base(folder))), "give the folders different names"))
			continue
		}
		names[name] = true
		if l, ok := d.customLayer(name, folder, at); ok {
			list = append(list, placed{l, at})
		}
	}
	return list
}

func (d *decoder) customLayer(name, folder string, at []any) (custom.Layer, bool) {
	refuse := func(message string) (custom.Layer, bool) {
		d.findings = append(d.findings, d.doc.Finding(at, false, message,
			fmt.Sprintf("name a folder beside %s that holds a %s, such as ./layers/my-app", FileName, custom.ConfigName)))
		return custom.Layer{}, false
	}
	if !filepath.IsLocal(folder) || filepath.Clean(folder) == "." {
		return refuse(fmt.Sprintf("%q is not a folder below that of %s", clip(folder), FileName))
	}
	if base := path.Base(filepath.ToSlash(folder)); !regexp.MustCompile(folderShape).MatchString(base) {
		d.findings = append(d.findings, d.doc.Finding(at, false, fmt.Sprintf("%q cannot be the name of a layer", clip(base)),
			"rename the folder: up to 63 letters, digits, dots, dashes and underscores"))
		return custom.Layer{}, false
	}
	root, err := d.root.OpenRoot(filepath.Clean(folder))
	if err != nil {
		return refuse(fmt.Sprintf("the folder %q cannot be read: %v", clip(folder), reason(err)))
	}
	defer root.Close()
	l, inputs, findings, err := custom.Load(name, root, path.Join(filepath.ToSlash(filepath.Dir(d.file)), filepath.ToSlash(folder)))
	if err != nil {
		return refuse(fmt.Sprintf("the %s in %q cannot be read: %v", custom.ConfigName, clip(folder), reason(err)))
	}
	for _, input := range inputs {
		d.digest.add(path.Join(filepath.ToSlash(filepath.Clean(folder)), input.Name), input.Data)
	}
	// They are about another file: their paths mean nothing in this one.
	for _, f := range findings {
		f.Path = nil
		d.findings = append(d.findings, f)
	}
	return l, len(findings) == 0
}

// reason is an error without the path that the message names already.
func reason(err error) error {
	var pathError *fs.PathError
	if errors.As(err, &pathError) {
		return pathError.Err
	}
	return err
}
