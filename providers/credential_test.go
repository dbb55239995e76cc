package providers

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const planted = "planted-secret-c0ffee"

func TestSecretIsHidden(t *testing.T) {
	t.Parallel()
	s := struct {
		Secret Secret
		hidden Secret // fmt calls no methods here
	}{NewSecret(planted), NewSecret(planted)}
	asJSON, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	all := string(asJSON)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
		all += fmt.Sprintf(verb, s) + fmt.Sprintf(verb, &s) + fmt.Sprintf(verb, s.Secret)
	}
	if strings.Contains(all, "c0ffee") || strings.Contains(strings.ToLower(all), fmt.Sprintf("%x", planted)) {
		t.Errorf("it is in %s", all)
	}
	if s.Secret.Reveal() != planted || s.hidden.IsZero() {
		t.Error("it is lost")
	}
}

func TestCredential(t *testing.T) {
	dir := t.TempDir()
	file := func(name string, mode os.FileMode, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	tests := map[string]struct {
		env  map[string]string
		want string // of the error; empty is the secret
	}{
		"environment":     {map[string]string{"TOKEN": planted}, ""},
		"file":            {map[string]string{"TOKEN_FILE": file("good", 0o600, planted+"\n")}, ""},
		"command":         {map[string]string{"TOKEN_COMMAND": "echo " + planted}, ""},
		"none":            {nil, "there are no credentials: set TOKEN, TOKEN_FILE"},
		"two":             {map[string]string{"TOKEN": planted, "TOKEN_COMMAND": "echo x"}, "TOKEN and TOKEN_COMMAND are set"},
		"no file":         {map[string]string{"TOKEN_FILE": filepath.Join(dir, "none")}, "TOKEN_FILE: there is no file"},
		"open file":       {map[string]string{"TOKEN_FILE": file("open", 0o644, planted)}, "chmod 600"},
		"folder":          {map[string]string{"TOKEN_FILE": dir}, "is not a regular file"},
		"empty file":      {map[string]string{"TOKEN_FILE": file("empty", 0o600, "\n")}, "TOKEN_FILE gives nothing"},
		"two lines":       {map[string]string{"TOKEN_FILE": file("lines", 0o600, planted+"\nuser: x\n")}, "more than one line"},
		"large file":      {map[string]string{"TOKEN_FILE": file("large", 0o600, strings.Repeat("x", maxSecret+1))}, "too large"},
		"failing command": {map[string]string{"TOKEN_COMMAND": "echo " + planted + "; exit 3"}, "TOKEN_COMMAND: the command failed: exit status 3"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			for k, v := range test.env {
				t.Setenv(k, v)
			}
			s, err := Credential(t.Context(), "TOKEN")
			switch {
			case test.want == "" && (err != nil || s.Reveal() != planted):
				t.Errorf("%v, %v", s, err)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
				t.Errorf("%v; want %q", err, test.want)
			case err != nil && strings.Contains(err.Error(), planted):
				t.Errorf("the error shows it: %v", err)
			}
		})
	}
}
