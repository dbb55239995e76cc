package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"ingot/config"
	"ingot/fault"
	"ingot/ignition"
	"ingot/layers"
)

// rendering is a format and how a folder's configuration shows in it: the
// document for people and pipes, and its value in the JSON document.
type rendering struct {
	format string
	short  string
	render func(c *console, loaded config.Loaded, result *rendered) ([]byte, error)
}

func renderings() []rendering {
	return []rendering{
		{
			"ignition", "Ignition JSON, what machines read",
			func(c *console, loaded config.Loaded, result *rendered) ([]byte, error) {
				cfg, err := c.ignition(loaded, result)
				result.Config = json.RawMessage(cfg.JSON)
				return cfg.Pretty(), err
			},
		},
		{
			"butane", "Butane YAML, what people read and edit",
			func(c *console, loaded config.Loaded, result *rendered) ([]byte, error) {
				cfg, err := c.ignition(loaded, result)
				result.Config = string(cfg.Butane)
				return cfg.Butane, err
			},
		},
		{
			"cloud-init", "user-data for a stock Debian system; --instance adds the secrets",
			func(c *console, loaded config.Loaded, result *rendered) ([]byte, error) {
				doc, err := c.cloudInit(loaded, result)
				result.Config = string(doc)
				return doc, err
			},
		},
	}
}

func renderCommand(c *console) *cobra.Command {
	render := &cobra.Command{
		Use:   "render FORMAT [DIR]",
		Short: "Show a folder's configuration in another language",
		Long: `Show the configuration that a folder's ingot.yaml stands for, on stdout: that of
the image, or with --instance that of the one machine, which holds its secrets.
A stock system has no image of Ingot's: with --stock a config is the whole of it,
and user-data for cloud-init always is; its secrets are in it with either flag.`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return fault.Input(fmt.Errorf("name a format; %s --help lists them", cmd.CommandPath()))
			}
			return unknown(cmd, args[0])
		},
	}
	instance := render.PersistentFlags().Bool("instance", false, "the config of the one machine, with its secrets")
	stock := render.PersistentFlags().Bool("stock", false, "all of it with its secrets, for a system that Ingot did not make")
	packages := render.PersistentFlags().Bool("with-packages", false, "with --stock: the system has the packages already, which Ignition cannot install")
	for _, r := range renderings() {
		render.AddCommand(&cobra.Command{
			Use:               r.format + " [DIR]",
			Short:             r.short,
			Args:              folder,
			ValidArgsFunction: folders,
			RunE: func(_ *cobra.Command, args []string) error {
				return c.render(r, folderOf(args), *instance, *stock, *packages)
			},
		})
	}
	render.AddCommand(renderNftablesCommand(c, instance), renderQuadletCommand(c, instance))
	return render
}

// rendered is the JSON document of render. Packages are what the config needs
// and its language cannot install.
type rendered struct {
	Format   string   `json:"format"`
	Instance bool     `json:"instance"`
	Stock    bool     `json:"stock"`
	Packages []string `json:"packages"`
	Config   any      `json:"config"`

	hasPackages bool // whoever renders says that the system has them
}

func (c *console) render(r rendering, dir string, instance, stock, packages bool) error {
	if instance && stock {
		return fault.Input(errors.New("--instance is a part and --stock is the whole; give one of the two"))
	}
	loaded, err := c.load(dir)
	if err != nil {
		return err
	}
	result := rendered{Format: r.format, Instance: instance, Stock: stock, Packages: []string{}, hasPackages: packages}
	text, err := r.render(c, loaded, &result)
	if err != nil {
		return located(loaded, err)
	}
	if c.json {
		return c.document(result)
	}
	return c.write(text)
}

func (c *console) ignition(loaded config.Loaded, result *rendered) (ignition.Config, error) {
	if result.Instance {
		return ignition.Instance(loaded.Plan, secretsOf(loaded))
	}
	var cfg ignition.Config
	var err error
	if result.Stock && !result.hasPackages && len(loaded.Plan.Packages) > 0 {
		return cfg, packagesMissing(loaded.Plan)
	}
	if result.Stock {
		cfg, err = ignition.Whole(loaded.Plan, secretsOf(loaded))
	} else {
		cfg, err = ignition.Standalone(loaded.Plan)
	}
	if err != nil {
		return cfg, err
	}
	result.Packages = append(result.Packages, loaded.Plan.Packages...)
	c.remark("This needs Debian packages, which Ignition cannot install: %s", strings.Join(result.Packages, " "))
	return cfg, nil
}

// packagesMissing says of each layer what Ignition cannot do for it.
func packagesMissing(plan layers.Plan) error {
	var found ignition.Findings
	for _, layer := range plan.LayerNames {
		var names []string
		for _, name := range plan.Packages {
			if plan.Owner["package "+name] == layer {
				names = append(names, name)
			}
		}
		if len(names) > 0 {
			found = append(found, ignition.Finding{Layer: layer, Message: fmt.Sprintf(
				"Ignition installs no packages, and this layer needs %s; start from a system that has them and add --with-packages, or render cloud-init", strings.Join(names, " "))})
		}
	}
	return found
}

// userDataLimit is the least that a provider takes: 16 KiB at AWS ("instance
// user data is limited to 16 KB, in raw form").
const userDataLimit = 16 << 10

func (c *console) cloudInit(loaded config.Loaded, result *rendered) ([]byte, error) {
	var secrets ignition.Secrets
	if result.Instance || result.Stock {
		secrets = secretsOf(loaded)
	}
	doc, err := ignition.CloudInit(loaded.Plan, secrets)
	if err == nil && len(doc) > userDataLimit {
		c.remark("This is %d KiB of user-data, and some providers take %d: cloud-init also reads it through gzip.", len(doc)>>10, userDataLimit>>10)
	}
	return doc, err
}

func secretsOf(loaded config.Loaded) ignition.Secrets {
	return ignition.SecretsIn(filepath.Dir(loaded.File))
}
