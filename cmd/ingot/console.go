package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"

	"ingot/config"
)

// console is where a verb's result and remarks go. The result is on stdout;
// everything else is on stderr, so that both can be piped.
type console struct {
	stdout, stderr       io.Writer
	json, quiet, verbose bool

	mu         sync.Mutex // guards the progress line
	unfinished bool       // it is on the terminal
	running    []string   // stages
}

// remark says something by the way.
func (c *console) remark(format string, arguments ...any) {
	if !c.quiet {
		fmt.Fprintf(c.stderr, format+"\n", arguments...)
	}
}

// detail says something that only --verbose wants to know.
func (c *console) detail(format string, arguments ...any) {
	if c.verbose {
		fmt.Fprintf(c.stderr, format+"\n", arguments...)
	}
}

// document writes the one JSON document of a verb.
func (c *console) document(v any) error {
	e := json.NewEncoder(c.stdout)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	return nil
}

// write puts a verb's result on stdout.
func (c *console) write(result []byte) error {
	if _, err := c.stdout.Write(result); err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	return nil
}

// findings is an error made of mistakes in ingot.yaml.
type findings []config.Finding

func (f findings) Error() string {
	if len(f) == 1 {
		return fmt.Sprintf("%s has a mistake", f[0].File)
	}
	return fmt.Sprintf("%s has %d mistakes", f[0].File, len(f))
}

// report is the JSON form of an outcome, for verbs with nothing more to say.
// Error is empty when all is well.
type report struct {
	Findings []config.Finding `json:"findings"`
	Error    string           `json:"error,omitempty"`
}

// failure shows an error: as JSON when that was asked for, and to people
// always.
func (c *console) failure(err error) {
	var list findings
	errors.As(err, &list)
	if c.json && !errors.As(err, new(shown)) {
		r := report{Findings: list, Error: err.Error()}
		if r.Findings == nil {
			r.Findings = []config.Finding{}
		}
		if c.document(r) == nil && c.quiet {
			return
		}
	}
	if len(list) > 0 {
		_ = config.Render(c.stderr, list) // there is nowhere else to complain
	}
	fmt.Fprintf(c.stderr, "ingot: %v\n", err)
}
