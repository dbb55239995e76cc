package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"ingot/config"
	"ingot/fault"
	"ingot/layers/system"
)

func docsCommand(c *console) *cobra.Command {
	var out string
	var schema string
	cmd := &cobra.Command{
		Use:   "docs",
		Short: "Write a page for each layer: its options, and what it adds",
		Long: `Write a Markdown page for each layer into a folder: its options with type, default
and meaning, and what it adds to a server. Or print the JSON Schema of ingot.yaml,
by which editors complete and check it.`,
		Example: "  ingot docs -o docs/layers\n  ingot docs --schema >ingot.schema.json",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknown(cmd, args[0])
			}
			if schema != "" {
				return c.schema(schema)
			}
			return c.docs(out)
		},
	}
	cmd.Flags().StringVarP(&out, "output", "o", "docs/layers", "folder of the pages")
	cmd.Flags().StringVar(&schema, "schema", "", "print the JSON Schema of this file instead: ingot.yaml, layer.yaml or checks.yaml")
	cmd.Flags().Lookup("schema").NoOptDefVal = config.FileName
	return cmd
}

func (c *console) schema(file string) error {
	text := config.SchemaJSON(file)
	if text == nil {
		return fault.Input(fmt.Errorf("there is no schema of %q; there is one of %s", file, strings.Join(config.SchemaFiles(), ", ")))
	}
	return c.write(text)
}

func (c *console) docs(out string) error {
	pages, err := config.Pages(system.Layer{})
	if err != nil {
		return err
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return fault.Input(fmt.Errorf("make the folder of the pages: %w", err))
	}
	names := slices.Sorted(maps.Keys(pages))
	for _, name := range names {
		if err := os.WriteFile(filepath.Join(out, name), pages[name], 0o644); err != nil {
			return fault.Input(fmt.Errorf("write a page: %w", err))
		}
	}
	if c.json {
		return c.document(map[string]any{"folder": out, "pages": names})
	}
	return c.write([]byte(fmt.Sprintf("%s: %d pages\n", out, len(names))))
}
