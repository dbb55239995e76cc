// Package compose turns a compose file into Podman's Quadlet units. It is pure:
// it reads the file's folder and nothing else, neither the environment nor the
// network, and runs no program.
package compose

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/dotenv"
	"github.com/compose-spec/compose-go/v2/interpolation"
	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/template"
	"github.com/compose-spec/compose-go/v2/types"

	"ingot/config/document"
)

// LoadOptions say how a compose file is read.
type LoadOptions struct {
	// File is the compose file's name below the folder.
	File string
	// EnvFile holds the variables that ${NAME} stands for. Without it there are
	// none: the environment of whoever builds is no part of the image.
	EnvFile string
	// Profiles are those that are on.
	Profiles []string
}

// Input is a file that was read, for the digest of the inputs.
type Input struct {
	Name string // below the folder, with slashes
	Data []byte
}

// Project is a compose file that was read, and where everything in it stands.
type Project struct {
	// Model has the profiles' services with what they extend, all variables
	// replaced, and paths as they are written.
	Model *types.Project

	file string
	docs map[string]*document.Document // by the file's name: the compose file and those it extends
	env  map[string]string
	*files
}

// maxBytes is how much content one compose file may bring into the image.
const maxBytes = 32 << 20

// files is the compose file's folder.
type files struct {
	root   *os.Root
	shown  string // how findings call the folder
	inputs []Input
	left   int64 // of maxBytes
}

// Inputs are the files that were read so far.
func (f *files) Inputs() []Input { return f.inputs }

// read returns a file of the folder. Nothing else is ever read.
func (f *files) read(name string, limit int64) ([]byte, error) {
	data, err := document.ReadFile(f.root, filepath.FromSlash(name), limit+1)
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("it is larger than %d KiB", limit>>10)
	}
	if !slices.ContainsFunc(f.inputs, func(i Input) bool { return i.Name == name }) {
		f.inputs = append(f.inputs, Input{name, data})
	}
	return data, nil
}

// Load reads a compose file of a folder, which findings call shown. The error
// is that of reading the file; everything else is a finding. Without findings
// the project is complete.
func Load(root *os.Root, shown string, o LoadOptions) (*Project, []document.Finding, error) {
	p := &Project{
		file: o.File, docs: map[string]*document.Document{}, env: map[string]string{},
		files: &files{root: root, shown: shown, left: maxBytes},
	}
	l := reader{Project: p, options: o}
	data, err := document.ReadFile(root, filepath.FromSlash(o.File), document.MaxBytes+1)
	if err != nil {
		return nil, nil, err
	}
	p.inputs = append(p.inputs, Input{o.File, data})
	if l.parse(o.File, data); len(l.findings) == 0 {
		l.environment()
		l.unknownKeys(o.File)
		l.variables(o.File)
		l.model()
	}
	document.Sort(path.Join(shown, o.File), l.findings)
	return p, l.findings, nil
}

// reader is a project while it is read.
type reader struct {
	*Project
	options  LoadOptions
	findings []document.Finding
}

func (l *reader) report(f document.Finding) { l.findings = append(l.findings, f) }

// parse reads the positions of a file.
func (l *reader) parse(name string, data []byte) {
	doc, findings := document.ParseShared(path.Join(l.shown, name), data)
	l.docs[name] = doc
	if len(findings) == 0 {
		findings = doc.Duplicates()
	}
	if _, isMapping := doc.Value().(map[string]any); len(findings) == 0 && !isMapping {
		findings = append(findings, doc.Finding(nil, false, "a compose file is a mapping", "begin it with services: and the services below"))
	}
	l.findings = append(l.findings, findings...)
}

func (l *reader) main() *document.Document { return l.docs[l.file] }

// environment reads the declared file of variables.
func (l *reader) environment() {
	if l.options.EnvFile == "" {
		return
	}
	name, ok := local(l.options.EnvFile)
	if !ok {
		l.report(l.main().Finding(nil, false, fmt.Sprintf("the file of variables %q is not in the compose file's folder", l.options.EnvFile), "name a file beside the compose file"))
		return
	}
	env, err := l.dotenv(name)
	if err != nil {
		l.report(l.main().Finding(nil, false, fmt.Sprintf("the file of variables %q cannot be read: %v", name, err), "write lines of NAME=value into it"))
		return
	}
	l.env = env
}

// dotenv reads a file of NAME=value lines, whose values may use the variables
// that are declared.
func (p *Project) dotenv(name string) (map[string]string, error) {
	data, err := p.read(name, document.MaxBytes)
	if err != nil {
		return nil, document.Cause(err)
	}
	return dotenv.ParseWithLookup(bytes.NewReader(data), p.lookup)
}

func (p *Project) lookup(name string) (string, bool) {
	value, ok := p.env[name]
	return value, ok
}

// local makes a path of the compose file's one below the folder.
func local(name string) (string, bool) {
	name = path.Clean(filepath.ToSlash(name))
	return name, filepath.IsLocal(filepath.FromSlash(name)) && name != "."
}

// unknownKeys finds keys that Compose does not have.
func (l *reader) unknownKeys(file string) {
	patterns := map[string]string{"[]": ""}
	doc := l.docs[file]
	doc.Walk(nil, func(at []any) bool {
		name, isKey := at[len(at)-1].(string)
		if isKey && strings.HasPrefix(name, "x-") {
			return false
		}
		parent := patterns[pathKey(at[:len(at)-1])]
		pattern, ok := patternOf(parent, at[len(at)-1])
		if !ok {
			// Below a value that is anything, such as a build section's.
			if siblingless(parent) {
				return false
			}
			advice := "remove it, or begin its name with x- if it is for somebody else"
			if near := document.Nearest(name, siblings(parent)); near != "" {
				advice = fmt.Sprintf("did you mean %s?", near)
			}
			l.report(doc.KeyFinding(slices.Clone(at), fmt.Sprintf("Compose has no key %q here", clip(name)), advice))
			return false
		}
		patterns[pathKey(at)] = pattern
		return ruleOf(pattern).fate == translated && len(l.findings) < document.MaxFindings
	})
}

func siblingless(parent string) bool { return len(siblings(parent)) == 0 }

// pathKey is a path as a key of a map.
func pathKey(at []any) string { return fmt.Sprintf("%q", at) }

// variables finds ${NAME} that nothing stands for.
func (l *reader) variables(file string) {
	doc := l.docs[file]
	doc.Walk(nil, func(at []any) bool {
		text, ok := doc.Text(at...)
		if !ok || !strings.Contains(text, "$") {
			return true
		}
		if _, err := substitute(text, l.lookup); err != nil {
			l.report(doc.Finding(slices.Clone(at), false, fmt.Sprintf("the variables in it cannot be replaced: %v", err), "write ${NAME} for a variable and $$ for a dollar"))
			return false
		}
		for name, v := range template.ExtractVariables(map[string]any{"": text}, template.DefaultPattern) {
			optional := regexp.MustCompile(`\$\{` + regexp.QuoteMeta(name) + `:?[-+]`).MatchString(text)
			if _, set := l.env[name]; !set && !optional && v.DefaultValue == "" {
				l.report(doc.Finding(slices.Clone(at), false, fmt.Sprintf("nothing says what the variable %s is", name), l.variableAdvice(name)))
			}
		}
		return false
	})
}

func (l *reader) variableAdvice(name string) string {
	if l.options.EnvFile == "" {
		return fmt.Sprintf("give a default, ${%s:-value}, or name a file of variables with envFile in ingot.yaml; the environment of whoever builds is not read", name)
	}
	return fmt.Sprintf("add %s= to %s, or give a default, ${%s:-value}", name, l.options.EnvFile, name)
}

func substitute(text string, lookup template.Mapping) (string, error) {
	return template.SubstituteWithOptions(text, lookup, template.WithoutLogging)
}

// maxAttempts bounds how often compose-go is asked.
const maxAttempts = 25

// model asks compose-go. It ends at its first error: what that is about is left
// out, and it is asked again, so that all of them are told.
func (l *reader) model() {
	var without [][]any
	for _, f := range l.findings {
		if len(f.Path) > 0 {
			without = append(without, f.Path)
		}
	}
	for range maxAttempts {
		before := len(l.findings)
		model, err := l.ask(without)
		if err == nil {
			l.Model = model
			return
		}
		at := l.placeOf(err.Error())
		known := func(w []any) bool { return slices.Equal(w, at) }
		if len(at) == 0 || slices.ContainsFunc(without, known) {
			if len(l.findings) == 0 {
				l.refused(at, err)
			}
			return
		}
		// What is wrong around something that was left out is so because of that,
		// and what a file that is extended has was told there.
		echo := slices.ContainsFunc(without, func(w []any) bool { return len(w) > len(at) && slices.Equal(w[:len(at)], at) })
		if !echo && !concerned(l.findings, at) && len(l.findings) == before {
			l.refused(at, err)
		}
		without = append(without, at)
	}
}

// refused reports what compose-go said about a place.
func (l *reader) refused(at []any, err error) {
	const advice = "correct it; docs.docker.com/reference/compose-file has what may stand here"
	if len(at) == 2 { // a service as a whole
		l.report(l.main().KeyFinding(at, said(err), advice))
		return
	}
	l.report(l.main().Finding(at, false, said(err), advice))
}

func concerned(findings []document.Finding, at []any) bool {
	return slices.ContainsFunc(findings, func(f document.Finding) bool {
		return f.Path != nil && len(f.Path) <= len(at) && slices.Equal(f.Path, at[:len(f.Path)])
	})
}

// ask has compose-go load the file, without some of its nodes.
func (l *reader) ask(without [][]any) (model *types.Project, err error) {
	defer func() {
		// A foreign program fed by strangers, as the YAML parser is.
		if r := recover(); r != nil {
			model, err = nil, fmt.Errorf("it cannot be understood: %v", r)
		}
	}()
	config, ok := l.main().Value().(map[string]any)
	if !ok {
		return nil, errors.New("a compose file is a mapping")
	}
	delete(config, "version")
	for _, at := range without {
		remove(config, at)
	}
	return loader.LoadWithContext(context.Background(), types.ConfigDetails{
		WorkingDir:  l.root.Name(),
		ConfigFiles: []types.ConfigFile{{Filename: filepath.Join(l.root.Name(), l.file), Config: config}},
		Environment: maps.Clone(l.env), // it adds to it
	}, func(o *loader.Options) {
		o.SetProjectName(projectName, true)
		o.Profiles = l.options.Profiles
		o.ResolvePaths = false
		o.SkipInclude = true
		o.SkipResolveEnvironment = true // it would read files itself
		o.Interpolate = &interpolation.Options{
			Substitute: substitute, LookupValue: l.lookup, TypeCastMapping: o.Interpolate.TypeCastMapping,
		}
		o.ResourceLoaders = []loader.ResourceLoader{extended{l}}
	})
}

// projectName is no part of any name on the machine: it has one project.
const projectName = "ingot"

// remove takes a node out of plain data.
func remove(data any, at []any) {
	for i, step := range at {
		last := i == len(at)-1
		switch node := data.(type) {
		case map[string]any:
			key, _ := step.(string)
			if last {
				delete(node, key)
				return
			}
			data = node[key]
		case []any:
			n, ok := step.(int)
			if !ok || n < 0 || n >= len(node) {
				return
			}
			if last {
				// Its place stays, so that the others keep theirs.
				node[n] = nil
				return
			}
			data = node[n]
		default:
			return
		}
	}
}

// extended reads the files that services extend.
type extended struct{ *reader }

// Accept takes every name: nothing is left to compose-go's own loaders.
func (extended) Accept(string) bool { return true }

// Dir is the folder that paths in the file begin at.
func (extended) Dir(name string) string { return path.Dir(path.Clean(name)) }

// Load checks the file before compose-go reads it.
func (e extended) Load(_ context.Context, name string) (string, error) {
	below, ok := local(name)
	if !ok {
		return "", fmt.Errorf("the file %s is not in the compose file's folder", name)
	}
	if path.Dir(below) != "." {
		return "", fmt.Errorf("the file %s is in another folder, whose paths mean something else", name)
	}
	if _, done := e.docs[below]; !done {
		data, err := e.read(below, document.MaxBytes)
		if err != nil {
			return "", fmt.Errorf("the file %s cannot be read: %w", name, document.Cause(err))
		}
		before := len(e.findings)
		if e.parse(below, data); len(e.findings) == before {
			e.unknownKeys(below)
			e.variables(below)
			if doc := e.docs[below]; doc.Has("version") {
				e.report(doc.KeyFinding([]any{"version"}, "version is obsolete", "remove it"))
			}
			if doc := e.docs[below]; doc.Has("include") {
				e.report(doc.KeyFinding([]any{"include"}, "include is not supported", projectRules["include"].text))
			}
		}
		if len(e.findings) > before {
			return "", fmt.Errorf("the file %s has mistakes", name)
		}
	}
	return filepath.Join(e.root.Name(), below), nil
}

// said is compose-go's message without what the finding says already.
func said(err error) string {
	text := err.Error()
	if _, after, ok := strings.Cut(text, "validating "); ok {
		if _, rest, ok := strings.Cut(after, ": "); ok {
			text = rest
		}
	}
	text = strings.TrimSuffix(strings.Join(strings.Fields(text), " "), ": invalid compose project")
	if runes := []rune(text); len(runes) > 200 {
		text = string(runes[:199]) + "…"
	}
	return text
}

// placeOf finds what an error of compose-go's is about: the longest path of the
// file that its text names, or the service that it names and below that the
// value.
func (l *reader) placeOf(text string) []any {
	var best []any
	length := 0
	l.main().Walk(nil, func(at []any) bool {
		for _, name := range []string{dotted(at, ".", ""), dotted(at, "[", "]")} {
			if len(name) > length && names(text, name) {
				best, length = slices.Clone(at), len(name)
			}
		}
		return true
	})
	if best != nil {
		return best
	}
	if file := regexp.MustCompile(`the file (\S+)`).FindStringSubmatch(text); file != nil {
		best = l.last(nil, file[1])
	}
	quoted := regexp.MustCompile(`service "([^"]*)"`).FindStringSubmatch(text)
	if best != nil || quoted == nil || !l.main().Has("services", quoted[1]) {
		return best
	}
	best = []any{"services", quoted[1]}
	if undefined := regexp.MustCompile(`undefined \w+ "?([^":\s]+)`).FindStringSubmatch(text); undefined != nil {
		if at := l.last(best, undefined[1]); at != nil {
			best = at
		}
	}
	return best
}

// last is the last place below a path where a word stands, as a value, as the
// beginning of one, or as a key.
func (l *reader) last(below []any, word string) (found []any) {
	l.main().Walk(below, func(at []any) bool {
		value, _ := l.main().Text(at...)
		if at[len(at)-1] == any(word) || value == word || strings.HasPrefix(value, word+":") {
			found = slices.Clone(at)
		}
		return true
	})
	return found
}

// dotted is a path as compose-go writes it.
func dotted(at []any, open, end string) string {
	var b strings.Builder
	for i, step := range at {
		switch step := step.(type) {
		case string:
			if i > 0 {
				b.WriteByte('.')
			}
			b.WriteString(step)
		case int:
			fmt.Fprintf(&b, "%s%d%s", open, step, end)
		}
	}
	return b.String()
}

// names reports whether a text has a name that ends where a path ends.
func names(text, name string) bool {
	i := strings.Index(text, name)
	if i < 0 || !strings.Contains(name, ".") {
		return false
	}
	rest := text[i+len(name):]
	return rest == "" || strings.ContainsRune(" :,'\"[.", rune(rest[0]))
}

// chain lists the places where a service is described: itself, and what it
// extends.
func (p *Project) chain(service string) []described {
	var list []described
	at := described{p.docs[p.file], p.file, service}
	for at.doc != nil && !slices.Contains(list, at) {
		list = append(list, at)
		base := []any{"services", at.service, "extends"}
		if name, ok := at.doc.Text(base...); ok { // extends: name
			at.service = name
			continue
		}
		name, ok := at.doc.Text(append(base, "service")...)
		if !ok {
			break
		}
		at.service = name
		if file, ok := at.doc.Text(append(base, "file")...); ok {
			file, _ = local(file)
			at.file, at.doc = file, p.docs[file]
		}
	}
	return list
}

// described is a service in one of the files.
type described struct {
	doc     *document.Document
	file    string
	service string
}

// items counts the items of a list.
func (d described) items(key string) int {
	n := 0
	d.doc.Walk([]any{"services", d.service, key}, func([]any) bool { n++; return false })
	return n
}

// has reports whether a key of a service is written anywhere.
func (p *Project) has(service string, key ...any) bool {
	return slices.ContainsFunc(p.chain(service), func(d described) bool {
		return d.doc.Has(append([]any{"services", d.service}, key...)...)
	})
}

// at makes a finding at a key of a service, where it is written.
func (p *Project) at(service, message, advice string, key ...any) document.Finding {
	for _, d := range p.chain(service) {
		if path := append([]any{"services", d.service}, key...); d.doc.Has(path...) {
			f := d.doc.Finding(path, false, message, advice)
			f.Path = nil
			return f
		}
	}
	f := p.docs[p.file].Finding(append([]any{"services", service}, key...), false, message, advice)
	f.Path = nil
	return f
}

// item is the path below a service of the list item, or the key of a mapping,
// in which one of the texts stands. Lists are joined by extends and rewritten
// by compose-go: their positions there mean nothing here.
func (p *Project) item(service, key string, texts ...string) []any {
	for _, d := range p.chain(service) {
		var found []any
		base := []any{"services", d.service, key}
		d.doc.Walk(base, func(at []any) bool {
			value, _ := d.doc.Text(at...)
			name, _ := at[len(at)-1].(string)
			if found == nil && slices.ContainsFunc(texts, func(t string) bool {
				return t != "" && (value == t || name == t || wordIn(value, t))
			}) {
				found = slices.Clone(at[2:min(len(at), 4)])
			}
			return found == nil
		})
		if found != nil {
			return found
		}
	}
	return []any{key}
}

// wordIn reports whether a value in short notation, "a:b:c" or "a=b", has a part.
func wordIn(value, part string) bool {
	if strings.HasPrefix(value, part) || strings.HasSuffix(value, part) {
		return true
	}
	return slices.Contains(strings.FieldsFunc(value, func(r rune) bool { return strings.ContainsRune(":=", r) }), part)
}

// clip cuts a value to what fits into a message.
func clip(s string) string {
	if runes := []rune(s); len(runes) > 60 {
		return string(runes[:59]) + "…"
	}
	return s
}
