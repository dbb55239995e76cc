package custom

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"reflect"

	"ingot/config/document"
	"ingot/layers"
)

// ConfigName is the file in a layer's folder that says what it contributes.
const ConfigName = "config.bu"

// filesName is the folder in a layer's folder that contents may come from.
const filesName = "files"

// maxFiles is how much content one layer may bring, in bytes: configuration
// and small programs. Large ones belong into packages or containers.
const maxFiles = 32 << 20

// Input is a file that was read, for the digest of the inputs.
type Input struct {
	Name string // below the layer's folder, with slashes
	Data []byte
}

// Types are those of the files beside config.bu, by the files' names: what the
// schemas for editors are made from.
func Types() map[string]reflect.Type {
	return map[string]reflect.Type{ManifestName: reflect.TypeFor[manifest](), ChecksName: reflect.TypeFor[checksFile]()}
}

// Load reads the layer in folder, shown is how findings call that folder. The
// error is that of reading config.bu; everything else is a finding there.
func Load(name string, folder *os.Root, shown string) (Layer, []Input, []document.Finding, error) {
	l := loader{name: name, folder: folder, shown: shown, left: maxFiles, seen: map[string]bool{}, claims: map[string]document.Finding{}}
	layer := Layer{name: name, claims: l.claims}
	var config butane
	fits, err := l.read(ConfigName, &config)
	if err != nil {
		return Layer{}, nil, nil, err
	}
	if fits {
		layer.contribution.Image = l.fragment(config)
	}
	var m manifest
	if l.optional(ManifestName, &m) {
		l.manifest(m, &layer.contribution)
	}
	var checks checksFile
	if l.optional(ChecksName, &checks) {
		layer.contribution.Checks = l.checks(checks)
	}
	return layer, l.inputs, l.findings, nil
}

// read decodes one file of the folder, which is then the one that findings are
// about. It reports whether the file fits; the error is that of reading it.
func (l *loader) read(name string, into any) (bool, error) {
	data, err := document.ReadFile(l.folder, name, document.MaxBytes+1)
	if err != nil {
		return false, err
	}
	l.inputs = append(l.inputs, Input{name, data})
	var findings []document.Finding
	l.doc, findings = document.Parse(path.Join(l.shown, name), data)
	findings = append(findings, l.doc.Decode(into)...)
	l.findings = append(l.findings, findings...)
	return len(findings) == 0, nil
}

// optional is read for a file that need not be there.
func (l *loader) optional(name string, into any) bool {
	fits, err := l.read(name, into)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		l.doc, _ = document.Parse(path.Join(l.shown, name), nil)
		l.report(fmt.Sprintf("the file cannot be read: %v", document.Cause(err)), "make it a regular file in the layer's folder, or remove it")
	}
	return fits
}

type loader struct {
	name     string
	folder   *os.Root
	shown    string
	doc      *document.Document
	inputs   []Input
	left     int64 // bytes of maxFiles
	seen     map[string]bool
	findings []document.Finding
	// claims are the places of what the layer claims, as Merge calls it.
	claims map[string]document.Finding
}

func (l *loader) report(message, advice string, at ...any) {
	l.findings = append(l.findings, l.doc.Finding(at, false, message, advice))
}

// content returns what inline or local stand for; at leads to the node that
// holds both keys.
func (l *loader) content(inline, local *string, localKey string, at ...any) string {
	switch {
	case inline != nil && local != nil:
		l.report("the content is given twice", "keep it here or in a file, not both", append(at, localKey)...)
	case inline != nil:
		return *inline
	case local != nil:
		return l.local(*local, append(at, localKey)...)
	}
	return ""
}

// local reads a file below files/. os.Root keeps links from leading out.
func (l *loader) local(name string, at ...any) string {
	const below = "name a file below the layer's files folder, such as app.conf"
	if !filepath.IsLocal(name) || name == "." {
		l.report(fmt.Sprintf("%q leads out of the files folder", name), below, at...)
		return ""
	}
	files, err := l.folder.OpenRoot(filesName)
	if err != nil {
		l.report("the layer has no files folder", "make a folder "+filesName+" beside "+ConfigName, at...)
		return ""
	}
	defer files.Close()
	data, err := document.ReadFile(files, name, l.left+1)
	switch {
	case errors.Is(err, os.ErrNotExist):
		l.report(fmt.Sprintf("there is no file %q below files", name), below, at...)
	case err != nil:
		l.report(fmt.Sprintf("the file %q cannot be read: %v", name, document.Cause(err)), below, at...)
	case int64(len(data)) > l.left:
		l.report(fmt.Sprintf("the layer's files are larger than %d MiB", maxFiles>>20), "bring large files in a package or a container", at...)
	default:
		l.left -= int64(len(data))
		l.inputs = append(l.inputs, Input{path.Join(filesName, filepath.ToSlash(name)), data})
	}
	return string(data)
}

// fragment turns the decoded config into the plan's terms.
func (l *loader) fragment(c butane) layers.Fragment {
	l.header(c)
	f := layers.Fragment{}
	for i, x := range c.Storage.Files {
		f.Files = append(f.Files, l.file(x, "storage", "files", i))
	}
	for i, x := range c.Storage.Directories {
		f.Directories = append(f.Directories, l.directory(x, "storage", "directories", i))
	}
	for i, x := range c.Storage.Links {
		f.Links = append(f.Links, l.link(x, "storage", "links", i))
	}
	for i, x := range c.Passwd.Users {
		f.Users = append(f.Users, l.user(x, "passwd", "users", i))
	}
	for i, x := range c.Passwd.Groups {
		f.Groups = append(f.Groups, l.group(x, "passwd", "groups", i))
	}
	for i, x := range c.Systemd.Units {
		f.Units = append(f.Units, l.unit(x, "systemd", "units", i))
	}
	for i, x := range c.KernelArguments.ShouldExist {
		l.kernelArgument(x, "kernel_arguments", "should_exist", i)
		f.KernelArguments = append(f.KernelArguments, x)
	}
	return f
}
