// Prune cuts an OpenAPI document down to some of its operations and the components
// that these reach, for testdata.
//
//	go run ./providers/fake/prune LIST DOCUMENT >testdata/openapi.json
//
// LIST has a line for each operation, "POST /servers"; empty lines and those that
// begin with "#" are skipped. What is for people is left out: examples, tags,
// extensions, and descriptions where the standard does not require one.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"gopkg.in/yaml.v3"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: prune LIST DOCUMENT")
		os.Exit(2)
	}
	list, err := os.ReadFile(os.Args[1])
	if err == nil {
		var document, out []byte
		if document, err = os.ReadFile(os.Args[2]); err == nil {
			if out, err = prune(string(list), document); err == nil {
				_, err = os.Stdout.Write(out)
			}
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "prune:", err)
		os.Exit(1)
	}
}

// prune returns the document as JSON with sorted members: the same bytes each time.
func prune(list string, document []byte) ([]byte, error) {
	var doc map[string]any
	if err := yaml.Unmarshal(document, &doc); err != nil { // JSON is YAML
		return nil, err
	}
	paths, err := operations(list, object(doc, "paths"))
	if err != nil {
		return nil, err
	}
	out := map[string]any{"openapi": doc["openapi"], "info": plain(doc["info"]), "servers": doc["servers"], "paths": paths}
	if security := doc["security"]; security != nil {
		out["security"] = security
	}
	components, err := reached(doc, paths)
	if err != nil {
		return nil, err
	}
	if schemes := object(doc, "components", "securitySchemes"); schemes != nil {
		components["securitySchemes"] = plain(schemes)
	}
	out["components"] = components
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetIndent("", " ")
	e.SetEscapeHTML(false)
	err = e.Encode(out)
	return b.Bytes(), err
}

// operations are those of the list.
func operations(list string, all map[string]any) (map[string]any, error) {
	paths := map[string]any{}
	for line := range strings.Lines(list) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		method, path, _ := strings.Cut(line, " ")
		method = strings.ToLower(method)
		from := object(all, path)
		operation := object(from, method)
		if operation == nil {
			return nil, fmt.Errorf("the document has no %s", line)
		}
		item := object(paths, path)
		if item == nil {
			item = map[string]any{}
			paths[path] = item
			if parameters := from["parameters"]; parameters != nil {
				item["parameters"] = plain(parameters)
			}
		}
		item[method] = plain(operation)
	}
	if len(paths) == 0 {
		return nil, fmt.Errorf("the list names no operation")
	}
	return paths, nil
}

// reached are the components that paths refer to, and those that they refer to.
func reached(doc, paths map[string]any) (map[string]any, error) {
	components := map[string]any{}
	todo := references(paths, nil)
	for len(todo) > 0 {
		ref := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		kind, name, ok := strings.Cut(strings.TrimPrefix(ref, "#/components/"), "/")
		if !ok || !strings.HasPrefix(ref, "#/components/") || strings.Contains(name, "/") {
			return nil, fmt.Errorf("cannot follow %s", ref)
		}
		of := object(components, kind)
		if of == nil {
			of = map[string]any{}
			components[kind] = of
		}
		if of[name] != nil {
			continue
		}
		component := object(doc, "components", kind, name)
		if component == nil {
			return nil, fmt.Errorf("the document has no %s", ref)
		}
		of[name] = plain(component)
		todo = references(of[name], todo)
	}
	return components, nil
}

// references appends the values of all "$ref" below a node.
func references(node any, list []string) []string {
	switch n := node.(type) {
	case map[string]any:
		for key, value := range n {
			if ref, ok := value.(string); ok && key == "$ref" {
				list = append(list, ref)
			} else {
				list = references(value, list)
			}
		}
	case []any:
		for _, value := range n {
			list = references(value, list)
		}
	}
	return list
}

// plain copies a node without what is for people.
func plain(node any) any {
	switch n := node.(type) {
	case map[string]any:
		out := map[string]any{}
		for key, value := range n {
			switch {
			case key == "properties":
				out[key] = each(value) // their keys are names
			case key == "description" && n["content"] == nil && n["headers"] == nil:
				// A response must have one; others may.
				if isResponse(n) {
					out[key] = value
				}
			case key == "example", key == "examples", key == "tags", key == "externalDocs", strings.HasPrefix(key, "x-"):
			default:
				out[key] = plain(value)
			}
		}
		return out
	case []any:
		out := make([]any, len(n))
		for i, value := range n {
			out[i] = plain(value)
		}
		return out
	}
	return node
}

// isResponse reports whether a node with a description and without content and
// headers is a response: it has nothing else then.
func isResponse(n map[string]any) bool { return len(n) == 1 }

func each(node any) any {
	names, ok := node.(map[string]any)
	if !ok {
		return node
	}
	out := map[string]any{}
	for name, value := range names {
		out[name] = plain(value)
	}
	return out
}

// object follows keys to an object, nil when there is none.
func object(node map[string]any, keys ...string) map[string]any {
	for _, key := range keys {
		node, _ = node[key].(map[string]any)
	}
	return node
}
