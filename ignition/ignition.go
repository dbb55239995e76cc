// Package ignition turns a plan into Butane and Ignition configs with the
// upstream libraries: one config that is baked into the image, and one that
// gives a machine its identity at first boot.
//
// The same plan gives the same bytes: entries are sorted, and file contents
// are never compressed, so that a reader and a secret scanner see them.
package ignition

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"ingot/layers"
)

// Config is one machine configuration in both languages.
type Config struct {
	Butane []byte // YAML, what people read and edit
	JSON   []byte // Ignition, compact
	// KernelArguments of the plan, in its order: the last console= is the
	// one that programs write to. Set by [Image] only, whose config has none.
	KernelArguments []string
}

// Pretty returns the Ignition config indented by two spaces, with a final line
// break.
func (c Config) Pretty() []byte {
	var b bytes.Buffer
	if err := json.Indent(&b, c.JSON, "", "  "); err != nil {
		return c.JSON
	}
	return append(b.Bytes(), '\n')
}

// Image returns the config that the real Ignition writes into the image tree.
// Kernel arguments are apart, since they go to the bootloader's menu. The error
// is [Findings] when layers are to blame.
func Image(plan layers.Plan) (Config, error) {
	f := bakeable(plan.Image)
	f.KernelArguments = nil
	c, err := render(f, plan.Owner)
	c.KernelArguments = plan.Image.KernelArguments
	return c, err
}

// Standalone returns the config of the image as one document with everything
// that Ignition can express, kernel arguments included, for a stock system
// that runs Ignition at its first boot; what the plan has for the sealed root
// only is left out. The error is [Findings] when layers are to blame.
func Standalone(plan layers.Plan) (Config, error) {
	return render(layers.Stock(plan).Image, plan.Owner)
}

// Whole returns image and instance in one document, secrets included, for a
// stock system that runs Ignition at its first boot and is to become this one
// server. What an image build does to the files of packages, a unit does at every
// boot. The error is [Findings] when layers are to blame.
func Whole(plan layers.Plan, secrets Secrets) (Config, error) {
	plan = layers.Stock(plan)
	if found := listable(plan); len(found) > 0 {
		return Config{}, found
	}
	f, err := whole(plan, secrets)
	if err != nil {
		return Config{}, err
	}
	f.Files = append(f.Files, hostname(plan.Site))
	f.Links = append(slices.Clone(f.Links), homes(plan)...)
	f = afterPackages(f, plan)
	return render(f, plan.Owner)
}

// homes lead to where the state is: in an image, all of /home does.
func homes(plan layers.Plan) []layers.Link {
	var links []layers.Link
	for _, u := range plan.Image.Users {
		onVar := "/var" + u.Home
		if strings.HasPrefix(u.Home, "/home/") && slices.ContainsFunc(plan.State, func(s layers.State) bool { return s.Path == onVar }) {
			links = append(links, layers.Link{Path: u.Home, Target: onVar})
		}
	}
	return links
}

// whole is image and instance in one fragment, secrets filled in, or left out
// when there are none.
func whole(plan layers.Plan, secrets Secrets) (layers.Fragment, error) {
	instance := slices.DeleteFunc(slices.Clone(plan.Instance.Files), func(f layers.File) bool { return f.SecretSlot != "" && secrets == nil })
	if secrets != nil {
		var err error
		if instance, err = fill(plan, secrets); err != nil {
			return layers.Fragment{}, err
		}
	}
	f := plan.Image
	f.Files = slices.Concat(f.Files, instance)
	f.Directories = slices.Concat(f.Directories, plan.Instance.Directories)
	return f, nil
}

// render translates a fragment and says which layer's entry was refused.
func render(f layers.Fragment, owner map[string]string) (Config, error) {
	f = sorted(f)
	if found := check(f, owner); len(found) > 0 {
		return Config{}, found
	}
	yaml, err := Butane(f)
	if err != nil {
		return Config{}, err
	}
	ignition, problems, err := translate(yaml)
	if found := blame(problems, f, owner); len(found) > 0 {
		return Config{}, found
	}
	if err != nil {
		return Config{}, fmt.Errorf("translate Butane to Ignition: %w", err)
	}
	return Config{Butane: yaml, JSON: ignition}, nil
}
