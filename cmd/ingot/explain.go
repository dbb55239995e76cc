package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"ingot/config"
	"ingot/config/document"
	"ingot/fault"
	"ingot/layers"
)

func explainCommand(c *console) *cobra.Command {
	return &cobra.Command{
		Use:   "explain THING [DIR]",
		Short: "Say which layer and line put a port, file or unit there, and why",
		Long: `Say which layer put a thing on the machine, by which line of ingot.yaml, and what
for. THING is a port (22/tcp), a path (/etc/nftables.conf), a unit (ssh.socket), a
package, an account, a kernel argument, a secret slot or the name of a check; its kind
may stand before it (package sudo).`,
		Example: "  ingot explain 443/tcp\n  ingot explain /etc/ssh/sshd_config examples/openclaw",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return fault.Input(fmt.Errorf("name a port, a file or a unit; %s --help has examples", cmd.CommandPath()))
			}
			name, rest := thing(args)
			if err := folder(cmd, rest); err != nil {
				return err
			}
			return c.explain(name, folderOf(rest))
		},
	}
}

// thing takes THING off the arguments: a name, or a kind and a name.
func thing(args []string) (string, []string) {
	kinds := []string{"package", "user", "group", "file", "directory", "unit", "check", "state", "port"}
	if len(args) > 1 && slices.Contains(kinds, args[0]) {
		name := args[1]
		if slices.Contains([]string{"package", "user", "group", "check"}, args[0]) {
			name = args[0] + " " + name
		}
		return name, args[2:]
	}
	return args[0], args[1:]
}

// explained is an answer of explain. Line and column are 0 when no line of
// ingot.yaml asked for it.
type explained struct {
	What   string `json:"what"`
	Layer  string `json:"layer"`
	Option string `json:"option,omitempty"` // "nftables.allow[0]"
	File   string `json:"file,omitempty"`
	Line   int    `json:"line,omitempty"`
	Column int    `json:"column,omitempty"`
	Why    string `json:"why,omitempty"`
}

func (c *console) explain(name, dir string) error {
	loaded, err := c.load(dir)
	if err != nil {
		return err
	}
	answers := layers.Explain(loaded.Plan, name)
	if len(answers) == 0 {
		return fault.Input(unexplained(loaded.Plan, name))
	}
	var list []explained
	for _, a := range answers {
		list = append(list, where(loaded, a))
	}
	if c.json {
		return c.document(list)
	}
	var s strings.Builder
	for _, e := range list {
		e.write(&s)
	}
	return c.write([]byte(s.String()))
}

func where(loaded config.Loaded, a layers.Explanation) explained {
	e := explained{What: a.What, Layer: a.Layer, Why: a.Why}
	if file, at, ok := loaded.Place(a); ok {
		e.File, e.Line, e.Column = file, at.Line, at.Column
	}
	if len(a.Option) > 0 {
		e.Option = a.Layer
		for _, step := range a.Option {
			if i, ok := step.(int); ok {
				e.Option += fmt.Sprintf("[%d]", i)
			} else {
				e.Option += fmt.Sprintf(".%v", step)
			}
		}
	}
	return e
}

func (e explained) write(s *strings.Builder) {
	fmt.Fprintf(s, "%s\n  layer   %s\n", e.What, e.Layer)
	if e.Option != "" {
		fmt.Fprintf(s, "  option  %s\n", e.Option)
	}
	if e.File != "" {
		fmt.Fprintf(s, "  at      %s:%d:%d\n", e.File, e.Line, e.Column)
	} else {
		s.WriteString("  at      every image has it\n")
	}
	if e.Why != "" {
		fmt.Fprintf(s, "  why     %s\n", e.Why)
	}
}

// unexplained says what is near to a name that nothing has.
func unexplained(plan layers.Plan, name string) error {
	names := layers.Explainable(plan)
	if near := document.Nearest(name, names); near != "" {
		return fmt.Errorf("nothing in the plan is called %q; did you mean %s?", name, near)
	}
	if strings.HasPrefix(name, "/") {
		return fmt.Errorf("no layer writes %s; it comes from a Debian package, or is not there", name)
	}
	return fmt.Errorf("nothing in the plan is called %q; name a port such as 443/tcp, a path or a unit", name)
}
