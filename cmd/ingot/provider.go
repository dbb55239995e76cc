package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"ingot/config"
	"ingot/config/document"
	"ingot/fault"
	"ingot/providers"
)

// providerFlags say where a server is to be.
type providerFlags struct {
	name, location, size, endpoint string
	server                         string
	options                        map[string]string
}

// opener makes the client of one provider.
type opener struct {
	name, what string
	open       func(context.Context, *console, providerFlags) (providers.Provider, error)
}

// option is one that only this provider has.
type option struct {
	name string
	set  func(value string) error
}

func (f *providerFlags) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVarP(&f.name, "provider", "p", os.Getenv("INGOT_PROVIDER"), "where: "+strings.Join(providerNames(), ", ")+"; by default INGOT_PROVIDER")
	flags.StringVar(&f.endpoint, "endpoint", "", "address of the provider's API, instead of its own")
	flags.StringVar(&f.location, "location", "", "the provider's name of a place")
	flags.StringToStringVar(&f.options, "option", nil, "an option that only this provider has, NAME=VALUE; can be repeated")
	_ = cmd.RegisterFlagCompletionFunc("provider", cobra.FixedCompletions(providerNames(), cobra.ShellCompDirectiveNoFileComp))
}

// registerMachine is for a verb that makes servers.
func (f *providerFlags) registerMachine(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.size, "size", "", "the provider's name of a size of servers")
}

// registerServer is for a verb about one server.
func (f *providerFlags) registerServer(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.server, "server", "", "the server's name, by default the name in ingot.yaml")
}

// open connects to the provider.
func (f providerFlags) open(ctx context.Context, c *console) (providers.Provider, error) {
	if f.name == "" {
		return nil, fault.Input(fmt.Errorf("say where with --provider or INGOT_PROVIDER: %s", strings.Join(providerNames(), ", ")))
	}
	for _, o := range openers() {
		if o.name == f.name {
			return o.open(ctx, c, f)
		}
	}
	return nil, fault.Input(fmt.Errorf("there is no provider %q; %s", f.name, nearest(f.name, providerNames())))
}

// nearest advises on a name that does not exist.
func nearest(name string, names []string) string {
	if near := document.Nearest(name, names); near != "" {
		return fmt.Sprintf("did you mean %s?", near)
	}
	return "there are " + strings.Join(names, ", ")
}

// set hands the options over to who knows them.
func (f providerFlags) set(known []option) error {
	var names []string
	for _, o := range known {
		names = append(names, o.name)
	}
	for _, name := range slices.Sorted(maps.Keys(f.options)) {
		i := slices.Index(names, name)
		if i < 0 {
			return fault.Input(fmt.Errorf("%s has no option %q; %s", f.name, name, nearest(name, names)))
		}
		if err := known[i].set(f.options[name]); err != nil {
			return fault.Input(fmt.Errorf("--option %s=%s: %w", name, f.options[name], err))
		}
	}
	return nil
}

// serverName is the server that a verb is about.
func (f providerFlags) serverName(loaded config.Loaded) string {
	if f.server != "" {
		return f.server
	}
	return loaded.Plan.Site.Name
}

// find is the one server that Ingot deployed under a name.
func find(ctx context.Context, p providers.Provider, name string) (providers.Server, error) {
	list, err := p.Servers(ctx)
	if err != nil {
		return providers.Server{}, err
	}
	var names []string
	for _, s := range list {
		if s.Name == name {
			return s, nil
		}
		names = append(names, s.Name)
	}
	there := "it made none"
	if len(names) > 0 {
		there = "it made " + strings.Join(names, ", ")
	}
	return providers.Server{}, fault.Input(fmt.Errorf("%w: Ingot made no server %q at %s; %s", errNoServer, name, p.Name(), there))
}

var errNoServer = errors.New("not there")

// journal opens this user's.
func journal() (*providers.Journal, error) {
	dir, err := providers.StateDir()
	if err != nil {
		return nil, err
	}
	return providers.OpenJournal(dir)
}

// under makes something at a provider, with an entry of the journal around it: what
// fails is said to be left for "ingot gc".
func (c *console) under(p providers.Provider, what string, work func(*providers.Entry) error) error {
	j, err := journal()
	if err != nil {
		return err
	}
	e, err := j.Begin(p.Name(), p.Account(), what)
	if err != nil {
		return err
	}
	if err := work(e); err != nil {
		e.Abandon()
		if len(e.Created) > 0 {
			c.remark("what was made for it at %s stays until \"ingot gc\" removes it", p.Name())
		}
		return err
	}
	return e.Done()
}
