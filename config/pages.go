package config

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"ingot/layers"
	"ingot/layers/containers"
)

// Pages returns a Markdown page for each layer by its file name, and README.md
// with what all have in common: the options by the schema, and what the layer
// adds to a server that has every layer on with its defaults. always are the
// layers without options that the caller adds to every server.
func Pages(always ...layers.Layer) (map[string][]byte, error) {
	return pagesFrom(SchemaJSON(FileName), always)
}

func pagesFrom(text []byte, always []layers.Layer) (map[string][]byte, error) {
	var root schema
	if err := json.Unmarshal(text, &root); err != nil {
		return nil, fmt.Errorf("read the schema of %s: %w", FileName, err)
	}
	plan, err := samplePlan(always)
	if err != nil {
		return nil, err
	}
	pages := map[string][]byte{"README.md": overview(&root, plan)}
	for _, p := range root.Definitions["layers"].Properties {
		pages[p.name+".md"] = page(p.name, p.Description, "layers."+p.name, &p.schema, plan)
	}
	for _, l := range append([]layers.Layer{}, always...) {
		pages[l.Name()+".md"] = page(l.Name(), "The layer "+l.Name()+" has no options: every image has it.", "", nil, plan)
	}
	for _, p := range root.Properties {
		if p.name == "admin" {
			pages["admin.md"] = page("admin", p.Description, "admin", &p.schema, plan)
		}
	}
	return pages, nil
}

// samplePlan is the plan of a server with every layer on.
func samplePlan(always []layers.Layer) (layers.Plan, error) {
	dir, err := os.MkdirTemp("", "ingot-sample-") // no custom layer is read from it
	if err != nil {
		return layers.Plan{}, err
	}
	defer os.RemoveAll(dir)
	if err := os.WriteFile(filepath.Join(dir, containers.DefaultCompose), []byte(sampleCompose), 0o600); err != nil {
		return layers.Plan{}, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return layers.Plan{}, err
	}
	defer root.Close()
	loaded, findings := decode(FileName, sample(), root, always)
	if len(findings) > 0 {
		return layers.Plan{}, errors.New(findings[0].Message + "; give the layer what it needs in sampleOptions")
	}
	return loaded.Plan, nil
}

const pageHead = "<!-- Written by \"ingot docs\" from the option types; go test ./config -update writes it anew. -->\n\n"

func overview(root *schema, plan layers.Plan) []byte {
	var b strings.Builder
	b.WriteString(pageHead + "# Options of ingot.yaml\n\n" +
		"Options of the *image* are baked into the sealed root: a change makes a new image. Options of the *instance* are this server's identity: they go\n" +
		"into `instance.ign`, and the image stays the same, bit for bit. Options of the *verdict* say which ones are relied on, those of the\n" +
		"*download* where packages come from; both are in neither.\n\n")
	options(&b, "", &schema{Properties: root.Properties})
	b.WriteString("\n| layer | what it is |\n|---|---|\n")
	described := map[string]string{}
	for _, p := range root.Properties {
		described[p.name] = p.Description
	}
	row := func(name, text string) { fmt.Fprintf(&b, "| [%s](%s.md) | %s |\n", name, name, cell(sentence(text))) }
	for _, p := range root.Definitions["layers"].Properties {
		row(p.name, p.Description)
	}
	for _, name := range plan.LayerNames {
		if !slices.Contains(layerNames(), name) {
			row(name, "on in every image: "+cmp.Or(described[name], "what every appliance has"))
		}
	}
	return []byte(b.String())
}

func page(name, description, path string, s *schema, plan layers.Plan) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "%s# %s\n\n%s\n", pageHead, name, description)
	if s != nil {
		b.WriteString("\n## Options\n\n")
		if len(s.Properties) == 0 && s.Items == nil && s.Additional == false {
			b.WriteString("None.\n")
		} else {
			options(&b, path, s)
		}
	}
	if slices.Contains(plan.LayerNames, name) {
		b.WriteString("\n## What it adds\n\nWith its defaults, beside all other layers:\n")
		contribution(&b, name, plan)
	}
	return []byte(b.String())
}

// options writes the table of everything below a node.
func options(b *strings.Builder, path string, s *schema) {
	b.WriteString("| option | type | default | of | meaning |\n|---|---|---|---|---|\n")
	if s.Items != nil {
		optionRow(b, path, s, false)
	}
	optionRows(b, path, s)
}

func optionRows(b *strings.Builder, path string, s *schema) {
	if s.Items != nil {
		optionRows(b, path+"[]", s.Items)
	}
	for i := range s.Properties {
		p := &s.Properties[i]
		here := strings.TrimPrefix(path+"."+p.name, ".")
		optionRow(b, here, &p.schema, slices.Contains(s.Required, p.name))
		optionRows(b, here, &p.schema)
	}
}

func optionRow(b *strings.Builder, path string, s *schema, required bool) {
	kind := s.kind()
	if required {
		kind += ", required"
	}
	standard := ""
	if s.Default != nil {
		standard = fmt.Sprintf("`%v`", s.Default)
	}
	fmt.Fprintf(b, "| `%s` | %s | %s | %s | %s |\n", path, kind, standard, s.Of, cell(s.Description))
}

// kind is a schema's type in words.
func (s *schema) kind() string {
	names, many := s.Type.([]any)
	name := s.Type
	if many {
		name = names[0]
	}
	switch {
	case len(s.AnyOf) > 0:
		return "mapping or list of names"
	case len(s.Enum) > 0:
		return "`" + strings.Join(s.Enum, "` or `") + "`"
	case s.Items != nil:
		kind := "list of " + s.Items.kind() + "s"
		if len(s.Items.Properties) > 0 {
			kind = "list"
		} else if s.Items.kind() == "text" {
			kind = "list of text"
		}
		if s.MinItems > 0 {
			kind += ", at least one"
		}
		return kind
	case name == "object":
		return "mapping"
	case name == "integer" && s.Maximum != nil:
		return fmt.Sprintf("number, %d to %d", max(*s.Minimum, 1), *s.Maximum)
	case name == "integer":
		return "number"
	case name == "boolean":
		return "true or false"
	}
	return "text"
}

// contribution writes what one layer brought to a plan.
func contribution(b *strings.Builder, name string, plan layers.Plan) {
	c := contributed{b: b}
	for _, p := range plan.Ports {
		if p.Layer == name {
			c.row("port", fmt.Sprintf("%s/%d from %s", p.Proto, p.Port, p.From), p.Why)
		}
	}
	for _, e := range plan.Egress {
		if e.Layer == name {
			c.row("egress", fmt.Sprintf("%s/%d to %s", e.Proto, e.Port, cmp.Or(e.CIDR, "anywhere")), e.Why)
		}
	}
	for _, f := range plan.Forwards {
		if f.Layer == name {
			c.row("forward", fmt.Sprintf("%s to %s", f.In, cmp.Or(f.Out, "anywhere")), f.Why)
		}
	}
	for _, u := range plan.Image.Units {
		c.unit(name, u, plan.Owner)
	}
	for _, f := range slices.Concat(plan.Image.Files, plan.Instance.Files) {
		if plan.Owner["file "+f.Path] == name {
			c.row("file", f.Path, f.Why)
		}
	}
	for _, s := range plan.State {
		if s.Layer == name {
			c.row("state", s.Path, s.Why)
		}
	}
	for _, s := range plan.Secrets {
		if s.Layer == name {
			c.row("secret slot", s.Name, s.Why)
		}
	}
	for _, s := range plan.SUID {
		if s.Layer == name {
			c.row("set-user-ID file", s.Path, s.Why)
		}
	}
	for _, k := range plan.Image.KernelArguments {
		argument, _, _ := strings.Cut(k, "=")
		if plan.Owner["kernel argument "+argument] == name || plan.Owner["kernel argument "+k] == name {
			c.row("kernel argument", k, "")
		}
	}
	for _, k := range plan.Checks {
		if k.Layer == name {
			c.row("check", k.ID, k.Title)
		}
	}
	if c.rows == 0 {
		b.WriteString("\nNothing.\n")
	}
}

type contributed struct {
	b    *strings.Builder
	rows int
}

func (c *contributed) row(kind, what, why string) {
	if c.rows == 0 {
		c.b.WriteString("\n| kind | what | why |\n|---|---|---|\n")
	}
	c.rows++
	fmt.Fprintf(c.b, "| %s | `%s` | %s |\n", kind, what, cell(why))
}

func (c *contributed) unit(layer string, u layers.Unit, owner map[string]string) {
	if owner["unit "+u.Name] == layer {
		state := ""
		switch {
		case u.Mask:
			state = "masked"
		case u.Enabled != nil && *u.Enabled:
			state = "enabled"
		}
		if state != "" && u.Why != "" {
			state += ": "
		}
		c.row("unit", u.Name, state+u.Why)
	}
	for _, d := range u.Dropins {
		if owner["drop-in "+u.Name+".d/"+d.Name] == layer {
			c.row("drop-in", u.Name+".d/"+d.Name, d.Why)
		}
	}
}

// cell makes a text fit into a table.
func cell(s string) string {
	return strings.NewReplacer("|", "\\|", "<", "&lt;").Replace(strings.Join(strings.Fields(s), " "))
}

// sentence is the first one of a text.
func sentence(s string) string {
	first, _, _ := strings.Cut(s, "\n\n")
	if i := strings.Index(first, ". "); i >= 0 {
		return first[:i]
	}
	return strings.TrimSuffix(first, ".")
}
