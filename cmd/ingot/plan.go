package main

import (
	"errors"
	"fmt"
	"strings"

	"ingot/config"
	"ingot/fault"
	"ingot/ignition"
	"ingot/layers/system"
)

// load reads a folder's ingot.yaml. Mistakes in it are the error.
func (c *console) load(dir string) (config.Loaded, error) {
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
