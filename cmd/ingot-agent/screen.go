package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// errRefused is in the errors about a config that is there and cannot be used.
var errRefused = errors.New("not an instance config")

// screen says in an operator's words what is wrong with bytes that cannot be
// an instance config. What it lets pass is Ignition's to judge. It never quotes
// the bytes: they may hold secrets, and the console is not secret.
func screen(b []byte) error {
	text := bytes.TrimSpace(bytes.TrimPrefix(b, []byte("\ufeff")))
	refuse := func(format string, a ...any) error {
		return fmt.Errorf("%w: %s", errRefused, fmt.Sprintf(format, a...))
	}
	switch {
	case len(text) == 0:
		return errors.New("empty")
	case bytes.HasPrefix(text, []byte("#cloud-config")):
		return refuse("it is cloud-config for cloud-init; hand over the instance.ign of \"ingot build\"")
	case bytes.HasPrefix(text, []byte("#!")):
		return refuse("it is a script; hand over the instance.ign of \"ingot build\"")
	case bytes.HasPrefix(text, []byte("\x1f\x8b")):
		return refuse("it is compressed; hand over instance.ign as it is")
	}
	var config struct {
		Ignition struct {
			Version string `json:"version"`
		} `json:"ignition"`
	}
	var syntax *json.SyntaxError
	switch err := json.Unmarshal(b, &config); {
	case errors.As(err, &syntax):
		return refuse("it is not JSON at byte %d of %d", syntax.Offset, len(b))
	case err != nil, config.Ignition.Version == "":
		return refuse("it is JSON without a version of Ignition")
	}
	// Ingot's own configs are of version 3; Ignition 2.x reads no other major.
	if !strings.HasPrefix(config.Ignition.Version, "3.") {
		return refuse("it is for version %.20q of Ignition's specification and this image reads 3", config.Ignition.Version)
	}
	return nil
}
