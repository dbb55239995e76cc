package main

import (
	"errors"

	"github.com/spf13/cobra"

	"ingot/fault"
	"ingot/layers/containers"
)

func renderQuadletCommand(c *console, instance *bool) *cobra.Command {
	return &cobra.Command{
		Use:               "quadlet [DIR]",
		Short:             "the containers' units, as Podman's Quadlet reads them",
		Args:              folder,
		ValidArgsFunction: folders,
		RunE: func(_ *cobra.Command, args []string) error {
			if *instance {
				return fault.Input(errors.New("the units are the image's, the same for every instance; leave out --instance"))
			}
			return c.renderQuadlet(folderOf(args))
		},
	}
}

// quadletUnit is one unit in the JSON document.
type quadletUnit struct {
	Name     string `json:"name"`
	Contents string `json:"contents"`
}

func (c *console) renderQuadlet(dir string) error {
	loaded, err := c.load(dir)
	if err != nil {
		return err
	}
	for _, l := range loaded.Layers {
		layer, ok := l.(containers.Layer)
		if !ok {
			continue
		}
		for _, r := range layer.Translation.Remarks {
			c.remark("%s:%d: %s: %s", r.File, r.Line, r.Message, r.Advice)
		}
		if !c.json {
			return c.write([]byte(layer.Quadlets()))
		}
		units := []quadletUnit{}
		for _, q := range layer.Translation.Quadlets {
			units = append(units, quadletUnit{q.Name, q.Contents})
		}
		return c.document(rendered{Format: "quadlet", Packages: loaded.Plan.Packages, Config: units})
	}
	return fault.Input(errors.New("there are no units: the layer containers is off"))
}
