package ssh

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	gossh "golang.org/x/crypto/ssh"

	"ingot/layers"
)

func plainKey(t *testing.T) string {
	t.Helper()
	public, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return keyLine(t, public)
}

func keyLine(t *testing.T, public any) string {
	t.Helper()
	key, err := gossh.NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return authorized(key)
}

func authorized(key gossh.PublicKey) string {
	return strings.TrimSpace(string(gossh.MarshalAuthorizedKey(key)))
}

func TestFindings(t *testing.T) {
	t.Parallel()
	key, token := plainKey(t), authorized(newToken(t, touched).PublicKey())
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	user := func(name string, keys ...string) Options { return Options{Users: []User{{name, keys}}} }
	for name, c := range map[string]struct {
		options Options
		want    string // path and message, empty: none
	}{
		"nothing":            {Options{}, ""},
		"tunnel":             {Options{Expose: "tunnel"}, ""},
		"internet":           {Options{Expose: "internet", NewPerMinute: 3}, ""},
		"world":              {Options{Expose: "world"}, `[expose] ssh cannot be exposed to "world"`},
		"hostile expose":     {Options{Expose: "internet\nListenStream=1"}, "[expose] ssh cannot"},
		"spelling":           {Options{Expose: "Internet"}, "[expose] ssh cannot"},
		"limit in tunnel":    {Options{NewPerMinute: 3}, "[newPerMinute] the limit is for the internet"},
		"no limit":           {Options{Expose: "internet", NewPerMinute: 601}, "[newPerMinute] 601 new connections a minute is no sensible limit"},
		"negative limit":     {Options{Expose: "internet", NewPerMinute: -1}, "[newPerMinute] -1 new"},
		"user":               {user("alice", key), ""},
		"user with two":      {user("alice", key, token), ""},
		"user without key":   {user("alice"), "[users 0 keys] this user could not log in"},
		"user with a CA":     {Options{Users: []User{{Name: "alice"}}, UserCA: []string{key}}, ""},
		"user is admin":      {user("clawadmin", key), "[users 0 name] clawadmin is the administrator"},
		"user is root":       {user("root", key), "[users 0 name] root does not log in"},
		"user is Debian's":   {user("sshd", key), "[users 0 name] the name sshd belongs to the system"},
		"hostile user":       {user("x\nPermitRootLogin yes", key), `[users 0 name] "x\nPermitRootLogin yes" is not a user name`},
		"pattern as user":    {user("*", key), `[users 0 name] "*" is not a user name`},
		"user with a host":   {user("alice@10.0.0.1", key), `[users 0 name] "alice@10.0.0.1" is not`},
		"two users":          {Options{Users: []User{{"alice", []string{key}}, {"bob", []string{key}}}}, ""},
		"user twice":         {Options{Users: []User{{"alice", []string{key}}, {"alice", []string{key}}}}, "[users 1 name] users[0] has the same name"},
		"same number":        {Options{Users: []User{{collision[0], []string{key}}, {collision[1], []string{key}}}}, "[users 1 name] this name leads to the same user number as that of users[0]"},
		"no key":             {user("alice", key, "x"), "[users 0 keys 1] this is not an SSH public key"},
		"same key":           {user("alice", key, key), "[users 0 keys 1] this is the same key as keys[0]"},
		"key with options":   {user("alice", `command="sh" `+key), "[users 0 keys 0] options"},
		"hostile key":        {user("alice", key+"\n"+token), "[users 0 keys 0] "},
		"token":              {Options{SecurityKeysOnly: true, Users: []User{{"alice", []string{token}}}}, ""},
		"no token":           {Options{SecurityKeysOnly: true, Users: []User{{"alice", []string{token, key}}}}, "[users 0 keys 1] this is no security key"},
		"authority":          {Options{UserCA: []string{key}}, ""},
		"authority in token": {Options{UserCA: []string{token}, SecurityKeysOnly: true}, ""},
		"authority no token": {Options{UserCA: []string{key}, SecurityKeysOnly: true}, ""},
		"authority ecdsa":    {Options{UserCA: []string{keyLine(t, &curve.PublicKey)}}, "[userCA 0] a key of type ecdsa-sha2-nistp256 signs no certificates here"},
		"authority no key":   {Options{UserCA: []string{key, "x"}}, "[userCA 1] this is not an SSH public key"},
		"authority marked":   {Options{UserCA: []string{"cert-authority " + key}}, "[userCA 0] options"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got []string
			for _, f := range (Layer{c.options}).Validate(layers.Site{Admin: layers.Admin{User: "clawadmin"}}) {
				got = append(got, fmt.Sprint(f.Path, " ", f.Message))
				if f.Advice == "" {
					t.Errorf("no advice: %s", f.Message)
				}
			}
			if text := strings.Join(got, "; "); len(got) > 1 || (c.want == "") != (text == "") || !strings.HasPrefix(text, c.want) {
				t.Errorf("got %q, want %q", text, c.want)
			}
		})
	}
}

// Two names with the same number, found by trying.
var collision = func() [2]string {
	seen := map[int]string{}
	for i := 0; ; i++ {
		name := fmt.Sprintf("user%d", i)
		if other, ok := seen[User{Name: name}.uid()]; ok {
			return [2]string{other, name}
		}
		seen[User{Name: name}.uid()] = name
	}
}()

// The number of an account is part of what is on /var: it must never change.
func TestNumberOfAName(t *testing.T) {
	t.Parallel()
	if got := (User{Name: "alice"}).uid(); got != 57479 {
		t.Errorf("alice is number %d", got)
	}
}

func TestExpose(t *testing.T) {
	t.Parallel()
	site := layers.Site{Admin: layers.Admin{User: "clawadmin"}}
	tunnel := Layer{}.Contribute(site)
	exposed := Layer{Options{Expose: ExposeInternet}}.Contribute(site)
	if len(tunnel.Ports) != 1 || tunnel.Ports[0].From != layers.FromWireGuard {
		t.Errorf("ports %+v", tunnel.Ports)
	}
	if len(exposed.Ports) != 2 || exposed.Ports[0].NewPerMinute != 0 || exposed.Ports[1].From != layers.FromInternet || exposed.Ports[1].NewPerMinute != DefaultNewPerMinute {
		t.Errorf("exposed, ports %+v", exposed.Ports)
	}
	for _, u := range tunnel.Image.Units[:2] {
		if !strings.Contains(u.Dropins[0].Contents, "BindsTo="+device) {
			t.Errorf("%s is not tied to the tunnel", u.Name)
		}
	}
	for _, u := range exposed.Image.Units {
		for _, d := range u.Dropins {
			if strings.Contains(d.Contents, layers.TunnelInterface) {
				t.Errorf("%s is tied to the tunnel:\n%s", u.Name, d.Contents)
			}
		}
	}
	if exposed.Entrances[0].Interface != "" || tunnel.Entrances[0].Interface != layers.TunnelInterface {
		t.Error("the entrances are elsewhere than the sockets")
	}
}

// Names are the image's, keys and authorities the instance's.
func TestKeysAreTheInstances(t *testing.T) {
	t.Parallel()
	site := layers.Site{Admin: layers.Admin{User: "clawadmin", Keys: []string{plainKey(t)}}}
	one := Layer{Options{Users: []User{{"alice", []string{plainKey(t)}}}, UserCA: []string{plainKey(t)}}}.Contribute(site)
	site.Admin.Keys = []string{plainKey(t)}
	two := Layer{Options{Users: []User{{"alice", []string{plainKey(t), plainKey(t)}}}}}.Contribute(site)
	if a, b := fmt.Sprintf("%+v", one.Image.Files), fmt.Sprintf("%+v", two.Image.Files); a != b {
		t.Errorf("other keys make another image:\n%s\n%s", a, b)
	}
	for _, f := range one.Instance.Files {
		if !slices.Contains(one.Identity, f.Path) {
			t.Errorf("an identity may not hold %s", f.Path)
		}
	}
	if len(one.Instance.Files) != 3 || len(two.Instance.Files) != 2 {
		t.Errorf("instance files %+v and %+v", one.Instance.Files, two.Instance.Files)
	}
	config := one.Image.Files[0]
	if config.Path != ConfigPath || !strings.Contains(config.Contents, "\nAllowUsers clawadmin alice\n") {
		t.Errorf("alice is not let in:\n%s", config.Contents)
	}
	if len(one.Image.Users) != 1 || one.Image.Users[0].Shell != "/bin/bash" || len(one.Image.Users[0].Groups) != 0 {
		t.Errorf("accounts %+v", one.Image.Users)
	}
}

// A check without a sabotage was never seen failing.
func TestEveryCheckHasASabotage(t *testing.T) {
	t.Parallel()
	l := Layer{Options{Expose: ExposeInternet, SecurityKeysOnly: true, VerifyRequired: true, Users: []User{{"alice", []string{plainKey(t)}}}}}
	for _, c := range l.Contribute(layers.Site{Admin: layers.Admin{User: "clawadmin"}}).Checks {
		if c.Sabotage == "" {
			t.Errorf("%s has none", c.ID)
		}
	}
}

// The sabotages of the settings edit what they are about: the line that the
// check wants from sshd is in the file before, and not after.
func TestSabotagesEditTheSetting(t *testing.T) {
	t.Parallel()
	site := layers.Site{Admin: layers.Admin{User: "clawadmin"}}
	l := Layer{Options{VerifyRequired: true, Users: []User{{"alice", []string{plainKey(t)}}}}}
	file := filepath.Join(t.TempDir(), "sshd_config")
	edited := 0
	for _, c := range l.checks(site) {
		if !strings.Contains(c.Sabotage, "sed -i") {
			continue
		}
		before := l.config(l.names(site))
		if err := os.WriteFile(file, []byte(before), 0o600); err != nil {
			t.Fatal(err)
		}
		command := strings.NewReplacer(layers.SabotageEtc+" && ", "", ConfigPath, file, "/etc/ssh/sabotage", filepath.Join(t.TempDir(), "key"), "systemctl restart ssh.service", ":").Replace(c.Sabotage)
		command, _, _ = strings.Cut(command, " && : && ") // what follows the restart is not the file's
		if out, err := exec.Command("sh", "-c", command).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v, %s", command, err, out)
		}
		after := read(t, file)
		if before == after {
			t.Errorf("%s: nothing changed by %s", c.ID, command)
		}
		if c.Command == nil || c.Command.Argv[0] != "/usr/sbin/sshd" {
			continue
		}
		edited++
		has := func(text string) bool {
			return strings.Contains("\n"+strings.ToLower(text), "\n"+strings.ToLower(c.Command.Contains))
		}
		if !has(before) || has(after) {
			t.Errorf("%s: %q is in the file before %t and after %t", c.ID, c.Command.Contains, has(before), has(after))
		}
	}
	if edited < 4 {
		t.Errorf("only %d checks ask sshd", edited)
	}
}
