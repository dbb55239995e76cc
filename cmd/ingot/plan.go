package main

import (
	"errors"
	"fmt"
	"strings"

	"ingot/config"
	"ingot/config/document"
	"ingot/fault"
	"ingot/ignition"
	"ingot/layers/system"
	"ingot/qemu-tests/assay"
)

// load reads a folder's ingot.yaml. Mistakes in it are the error, a required
// check that does not exist among them: which there are depends on the plan.
func (c *console) load(dir string) (config.Loaded, error) {
	loaded, err := c.read(dir)
	if err != nil {
		return loaded, err
	}
	if list := required(loaded); len(list) > 0 {
		return loaded, fault.Input(findings(list))
	}
	return loaded, nil
}

// read does the same, and takes the required checks as they are.
func (c *console) read(dir string) (config.Loaded, error) {
	loaded, list, err := config.Load(dir, system.Layer{})
	switch {
	case err != nil:
		return loaded, fault.Input(err)
	case len(list) > 0:
		return loaded, fault.Input(findings(list))
	}
	c.detail("%s: layers %s, digest %s", loaded.File, strings.Join(loaded.Plan.LayerNames, ", "), loaded.Digest)
	return loaded, nil
}

// required are the names in test.require that mean nothing for the plan.
func required(loaded config.Loaded) []config.Finding {
	var list []config.Finding
	for i, name := range loaded.Test.Require {
		selection := assay.Selection{Also: []string{name}}
		if _, err := selection.Needs(loaded.Plan); err == nil {
			continue
		}
		advice := "ingot test --list has the names of all"
		if near := document.Nearest(name, assay.Names(loaded.Plan)); near != "" {
			advice = fmt.Sprintf("did you mean %s?", near)
		}
		list = append(list, loaded.Finding([]any{"test", "require", i}, fmt.Sprintf("this image has no check %q", name), advice))
	}
	return list
}

// located brings what Ignition does not accept back to the layer's place in
// ingot.yaml. Other errors are passed on: they are about files beside it.
func located(loaded config.Loaded, err error) error {
	var refused ignition.Findings
	if !errors.As(err, &refused) {
		return fault.Input(err)
	}
	var list findings
	for _, f := range refused {
		at, known := loaded.Positions[f.Layer]
		if !known {
			at = config.Position{Line: 1, Column: 1}
		}
		layer := f.Layer
		f.Layer = ""
		list = append(list, config.Finding{
			File: loaded.File, Line: at.Line, Column: at.Column, Message: f.Error(), Advice: adviceAbout(layer),
		})
	}
	return fault.Input(list)
}

func adviceAbout(layer string) string {
	if layer == "" {
		return "no single layer brought it; look at what the layers have in common"
	}
	return fmt.Sprintf("the layer %s brought it: change that layer's options, or its files if they are yours", layer)
}
