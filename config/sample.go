package config

import (
	"fmt"
	"reflect"
	"strings"
)

// sampleOptions are what the layers cannot do without.
var sampleOptions = map[string]string{
	"wireguard": "{peers: [{name: laptop, address: 10.8.0.2, publicKey: c8rjWkBU97aluuFEv5nHSQpHqLiXjG6ooLm7EOC0pAE=}]}",
}

// sampleCompose is the compose file of the sample.
const sampleCompose = "services: {app: {image: \"registry.example/app:1\", ports: [\"10.8.0.1:8080:80\"], volumes: [\"data:/data\"]}}\nvolumes: {data: {}}\n"

// sample is an ingot.yaml with every layer on and nothing else, for the pages
// about the layers.
func sample() []byte {
	var b strings.Builder
	b.WriteString("name: server\nadmin:\n  user: clawadmin\n  keys:\n" +
		"    - ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIP3n5fysqTSD2F59GBq32PWPdQRwN1IviHFzfiRUHI5A laptop\nlayers:\n")
	for _, name := range layerNames() {
		options := sampleOptions[name]
		if options == "" {
			options = "{}"
		}
		fmt.Fprintf(&b, "  %s: %s\n", name, options)
	}
	return []byte(b.String())
}

// layerNames are the layers that ingot.yaml knows, without those of folders.
func layerNames() []string {
	var names []string
	t := reflect.TypeFor[layerOptions]()
	for i := range t.NumField() {
		if name := t.Field(i).Tag.Get("yaml"); name != "custom" {
			names = append(names, name)
		}
	}
	return names
}
