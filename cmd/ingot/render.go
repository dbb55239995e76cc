package main

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"ingot/config"
	"ingot/fault"
	"ingot/ignition"
)

// rendering is a format and how a config shows in it.
type rendering struct {
	format string
	short  string
	text   func(ignition.Config) []byte // for people and pipes
	value  func(ignition.Config) any    // in the JSON document
}

func renderings() []rendering {
	return []rendering{
		{
			"ignition", "Ignition JSON, what machines read",
			ignition.Config.Pretty, func(c ignition.Config) any { return json.RawMessage(c.JSON) },
		},
		{
			"butane", "Butane YAML, what people read and edit",
			func(c ignition.Config) []byte { return c.Butane }, func(c ignition.Config) any { return string(c.Butane) },
		},
	}
}

func renderCommand(c *console) *cobra.Command {
	render := &cobra.Command{
		Use:   "render FORMAT [DIR]",
		Short: "Show a folder's configuration in another language",
		Long: `Show the configuration that a folder's ingot.yaml stands for, on stdout: that of
the image, or with --instance that of the one machine, which holds its secrets.`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return fault.Input(fmt.Errorf("name a format; %s --help lists them", cmd.CommandPath()))
			}
			return unknown(cmd, args[0])
		},
	}
	instance := render.PersistentFlags().Bool("instance", false, "the config of the one machine, with its secrets")
	for _, r := range renderings() {
		render.AddCommand(&cobra.Command{
			Use:               r.format + " [DIR]",
			Short:             r.short,
			Args:              folder,
			ValidArgsFunction: folders,
			RunE:              func(_ *cobra.Command, args []string) error { return c.render(r, folderOf(args), *instance) },
		})
	}
	return render
}

// rendered is the JSON document of render. Packages are what the config needs
// and neither language can install.
type rendered struct {
	Format   string   `json:"format"`
	Instance bool     `json:"instance"`
	Packages []string `json:"packages"`
	Config   any      `json:"config"`
}

func (c *console) render(r rendering, dir string, instance bool) error {
	loaded, err := c.load(dir)
	if err != nil {
		return err
	}
	result := rendered{Format: r.format, Instance: instance, Packages: []string{}}
	var cfg ignition.Config
	if instance {
		cfg, err = ignition.Instance(loaded.Plan, ignition.SecretsIn(filepath.Dir(loaded.File)))
	} else {
		cfg, err = c.standalone(loaded, &result)
	}
	if err != nil {
		return located(loaded, err)
	}
	if c.json {
		result.Config = r.value(cfg)
		return c.document(result)
	}
	return c.write(r.text(cfg))
}

func (c *console) standalone(loaded config.Loaded, result *rendered) (ignition.Config, error) {
	cfg, err := ignition.Standalone(loaded.Plan)
	if err != nil {
		return cfg, err
	}
	result.Packages = append(result.Packages, loaded.Plan.Packages...)
	c.remark("This needs Debian packages, which Ignition cannot install: %s", strings.Join(result.Packages, " "))
	return cfg, nil
}
