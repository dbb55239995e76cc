package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestPrune(t *testing.T) {
	t.Parallel()
	document, err := os.ReadFile("../testdata/things.yaml")
	if err != nil {
		t.Fatal(err)
	}
	out, err := prune("# those we use\n\nPOST /things\n", document)
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatal(err)
	}
	keys := func(path ...string) []string {
		var list []string
		for key := range object(got, path...) {
			list = append(list, key)
		}
		slices.Sort(list)
		return list
	}
	for _, test := range []struct{ at, want string }{
		{"paths", "/things"},
		{"paths /things", "post"},
		{"paths /things post responses", "201 4xx"},
		{"paths /things post responses 201", "content description"},
		{"components", "responses schemas securitySchemes"},
		{"components schemas", "thing"},
		{"components schemas thing", "properties required type"},
		// Those are names.
		{"components schemas thing properties", "description example name"},
		{"components schemas thing properties description", "type"},
	} {
		if got := strings.Join(keys(strings.Fields(test.at)...), " "); got != test.want {
			t.Errorf("%s has %q, want %q", test.at, got, test.want)
		}
	}
	again, err := prune("POST /things", out)
	if err != nil || !bytes.Equal(again, out) {
		t.Errorf("what is cut cannot be cut again: %v\n%s", err, again)
	}
}

// The documents of the providers are what the program makes of them: nobody has
// changed them by hand, and their lists name all that is in them.
func TestDocumentsAreCut(t *testing.T) {
	t.Parallel()
	lists, err := filepath.Glob("../../*/testdata/operations.txt")
	if err != nil || len(lists) == 0 {
		t.Fatalf("there are no lists of operations: %v", err)
	}
	for _, list := range lists {
		operations, err := os.ReadFile(list)
		if err != nil {
			t.Fatal(err)
		}
		document, err := os.ReadFile(filepath.Join(filepath.Dir(list), "openapi.json"))
		if err != nil {
			t.Fatal(err)
		}
		again, err := prune(string(operations), document)
		if err != nil || !bytes.Equal(again, document) {
			t.Errorf("%s: cut again it is another: %v", list, err)
		}
	}
}

func TestPruneErrors(t *testing.T) {
	t.Parallel()
	const document = `{"paths":{"/a":{"get":{"responses":{"200":{"$ref":"#/components/responses/gone"}}}},"/b":{"get":{"responses":{"200":{"$ref":"other.yaml"}}}}}}`
	for list, want := range map[string]string{
		"":           "the list names no operation",
		"POST /a":    "the document has no POST /a",
		"GET /c":     "the document has no GET /c",
		"parameters": "the document has no parameters",
		"GET /a":     "the document has no #/components/responses/gone",
		"GET /b":     "cannot follow other.yaml",
	} {
		if _, err := prune(list, []byte(document)); err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", list, err, want)
		}
	}
}

func TestReferences(t *testing.T) {
	t.Parallel()
	got := references(map[string]any{"a": []any{map[string]any{"$ref": "1"}}, "b": map[string]any{"c": map[string]any{"$ref": "2"}}}, nil)
	slices.Sort(got)
	if want := []string{"1", "2"}; !reflect.DeepEqual(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
