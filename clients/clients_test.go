package clients

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"filippo.io/age"
	"filippo.io/age/armor"

	"ingot/fault"
	"ingot/layers/wireguard"
	"ingot/secrets"
)

// site is a folder with an ingot.yaml whose layer wireguard has these options.
func site(t *testing.T, options string) string {
	t.Helper()
	dir := t.TempDir()
	yaml := `name: openclaw
admin:
  user: clawadmin
  keys: [ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIP3n5fysqTSD2F59GBq32PWPdQRwN1IviHFzfiRUHI5A laptop]
layers:
  ssh: {}
  nftables: {}
  wireguard:
    endpoint: claw.example.com
    peers:
      - {name: laptop, address: 10.8.0.2, publicKey: c8rjWkBU97aluuFEv5nHSQpHqLiXjG6ooLm7EOC0pAE=} # mine
` + options
	if err := os.WriteFile(filepath.Join(dir, "ingot.yaml"), []byte(yaml), 0o640); err != nil {
		t.Fatal(err)
	}
	return dir
}

func text(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// value is what a config says behind a key.
func value(config, key string) string {
	_, after, _ := strings.Cut(config, "\n"+key+" = ")
	v, _, _ := strings.Cut(after, "\n")
	return v
}

func TestAdd(t *testing.T) {
	t.Parallel()
	dir := site(t, "    listenPort: 51821\n    address6: fd00:8::1/64\n    mtu: 1400\n    dns: true\n    fullTunnel: true\n")
	added, err := Add(dir, Options{Name: "phone", Full: true, PresharedKey: true})
	if err != nil {
		t.Fatal(err)
	}
	config := text(t, added.File)
	for key, want := range map[string]string{
		"Address": "10.8.0.3/32, fd00:8::2/128", "DNS": "10.8.0.1, fd00:8::1", "MTU": "1400", "AllowedIPs": "0.0.0.0/0, ::/0",
		"Endpoint": "claw.example.com:51821", "PersistentKeepalive": "25",
		"PresharedKey": strings.TrimSpace(text(t, filepath.Join(dir, "secrets/wireguard/preshared-key-phone"))),
	} {
		if got := value(config, key); got != want || want == "" {
			t.Errorf("%s is %q, want %q", key, got, want)
		}
	}
	private := value(config, "PrivateKey")
	if public, err := wireguard.PublicKey(private); err != nil || public != added.PublicKey {
		t.Errorf("the private key is not that of %s: %s, %v", added.PublicKey, public, err)
	}
	server, err := wireguard.PublicKey(text(t, filepath.Join(dir, "secrets", wireguard.PrivateKeySlot)))
	if got := value(config, "PublicKey"); err != nil || got != server {
		t.Errorf("the server's key is %s, want %s, %v", got, server, err)
	}
	yaml := text(t, filepath.Join(dir, "ingot.yaml"))
	if strings.Contains(yaml, private) || !strings.Contains(yaml, added.PublicKey) || !strings.Contains(yaml, "presharedKey: true") || !strings.Contains(yaml, "# mine") {
		t.Errorf("ingot.yaml is\n%s", yaml)
	}
	for file, mode := range map[string]fs.FileMode{
		added.File: 0o600, filepath.Join(dir, "secrets/wireguard/preshared-key-phone"): 0o600,
		filepath.Join(dir, "secrets", wireguard.PrivateKeySlot): 0o600, filepath.Join(dir, "ingot.yaml"): 0o640, filepath.Join(dir, "secrets"): 0o700,
	} {
		if info, err := os.Stat(file); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s has %v, want %v, %v", file, info.Mode(), mode, err)
		}
	}
	if got := text(t, filepath.Join(dir, "secrets/.gitignore")); got != "*\n" {
		t.Errorf("git is told %q", got)
	}

	if _, err := Remove(dir, "phone"); err != nil {
		t.Fatal(err)
	}
	for _, gone := range []string{added.File, filepath.Join(dir, "secrets/wireguard/preshared-key-phone")} {
		if _, err := os.Stat(gone); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is still there", gone)
		}
	}
}

// A split tunnel carries what is for the server's subnets and nothing else.
func TestAddSplit(t *testing.T) {
	t.Parallel()
	added, err := Add(site(t, ""), Options{Name: "phone", Endpoint: "2001:db8::7"})
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{"AllowedIPs": "10.8.0.0/24", "DNS": "", "MTU": "", "Endpoint": "[2001:db8::7]:51820"} {
		if got := value(added.Config, key); got != want {
			t.Errorf("%s is %q, want %q", key, got, want)
		}
	}
}

func TestAge(t *testing.T) {
	t.Parallel()
	dir := site(t, "")
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	added, err := Add(dir, Options{Name: "phone", Age: []string{id.Recipient().String()}})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(added.File, "secrets/clients/phone.conf.age") || strings.Contains(text(t, added.File), "PrivateKey") {
		t.Errorf("%s is not encrypted", added.File)
	}
	plain, err := age.Decrypt(armor.NewReader(strings.NewReader(text(t, added.File))), id)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(plain); err != nil || string(got) != added.Config {
		t.Errorf("decrypted: %q, %v", got, err)
	}
	// The key is nowhere else in the folder.
	private := value(added.Config, "PrivateKey")
	err = filepath.WalkDir(dir, func(file string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() && strings.Contains(text(t, file), private) {
			t.Errorf("%s holds the private key", file)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for given, want := range map[string]string{
		"AGE-SECRET-KEY-1XYZ": "not the secret key", "nonsense": "not a recipient", "ssh-ed25519 x": "not a line of an SSH",
		"age1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq": "not a recipient",
	} {
		if _, err := Add(dir, Options{Name: "x", Age: []string{given}}); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), given) {
			t.Errorf("%q: %v", given, err)
		}
	}
	if _, err := secrets.ParseRecipients([]string{"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIP3n5fysqTSD2F59GBq32PWPdQRwN1IviHFzfiRUHI5A laptop"}); err != nil {
		t.Error(err)
	}
}

// What is refused changes nothing.
func TestRefused(t *testing.T) {
	t.Parallel()
	dir := site(t, "    address: 10.8.0.1/29\n")
	for _, name := range []string{"a", "b", "c", "d"} { // 10.8.0.3 to .6
		if _, err := Add(dir, Options{Name: name}); err != nil {
			t.Fatal(err)
		}
	}
	before := text(t, filepath.Join(dir, "ingot.yaml"))
	for want, o := range map[string]Options{
		"10.8.0.0/29 is full":               {Name: "e"},
		"a peer called laptop already":      {Name: "laptop"},
		"is not a peer name":                {Name: "../../etc/passwd"},
		`"x\nPostUp = sh" is not a peer`:    {Name: "x\nPostUp = sh"},
		"add fullTunnel: true":              {Name: "e", Full: true},
		"neither a host name nor an addres": {Name: "e", Endpoint: "a\nPostUp = sh"},
	} {
		if _, err := Add(dir, o); err == nil || !strings.Contains(err.Error(), want) || fault.Of(err) != fault.OfInput {
			t.Errorf("%+v: %v, want %q", o, err, want)
		}
	}
	if _, err := Remove(dir, "laptpo"); err == nil || !strings.Contains(err.Error(), "did you mean laptop?") {
		t.Error(err)
	}
	if after := text(t, filepath.Join(dir, "ingot.yaml")); after != before {
		t.Errorf("ingot.yaml changed:\n%s", after)
	}
	if _, err := os.Stat(filepath.Join(dir, "secrets/clients/e.conf")); err == nil {
		t.Error("a refused client has a config")
	}
}

// plug is a disk whose plug is pulled before its n-th change.
type plug struct {
	disk
	left *int
}

type pulled struct{}

func (p plug) pull() {
	if *p.left == 0 {
		panic(pulled{})
	}
	*p.left--
}

func (p plug) write(file string, content []byte, mode fs.FileMode) error {
	p.pull()
	return p.disk.write(file, content, mode)
}

func (p plug) remove(file string) error {
	p.pull()
	return p.disk.remove(file)
}

// until runs f until the plug is pulled; it is true when f came to its end.
func until(changes int, f func(writer)) (done bool) {
	defer func() {
		if r := recover(); r != nil {
			if _, ok := r.(pulled); !ok {
				panic(r)
			}
		}
	}()
	f(plug{left: &changes})
	return true
}

// Whenever the plug is pulled, ingot.yaml is the old one or the new one, a peer
// in it has its config, and the same command works when it is run again.
func TestPlugPulled(t *testing.T) {
	t.Parallel()
	for n := 0; ; n++ {
		dir := site(t, "")
		o := Options{Name: "phone", PresharedKey: true}
		done := until(n, func(w writer) {
			if _, err := add(dir, o, w); err != nil {
				t.Error(err)
			}
		})
		list, err := List(dir)
		if err != nil {
			t.Fatalf("after %d changes: %v", n, err)
		}
		if i := slices.IndexFunc(list, func(c Client) bool { return c.Name == "phone" }); i >= 0 {
			public, err := wireguard.PublicKey(value(text(t, list[i].File), "PrivateKey"))
			if err != nil || public != list[i].PublicKey {
				t.Errorf("after %d changes the config is not the peer's: %v", n, err)
			}
		} else if _, err := Add(dir, o); err != nil {
			t.Errorf("after %d changes: %v", n, err)
		}
		if !until(n, func(w writer) { _, _ = remove(dir, "phone", w) }) {
			if list, err := List(dir); err != nil || len(list) == 2 && list[1].File == "" {
				t.Errorf("after %d changes of removing: %+v, %v", n, list, err)
			}
		}
		if done {
			if n < 5 {
				t.Errorf("only %d changes were made", n)
			}
			return
		}
	}
}

// full is a disk that is full when ingot.yaml is written.
type full struct{ disk }

func (d full) write(file string, content []byte, mode fs.FileMode) error {
	if filepath.Base(file) == "ingot.yaml" {
		return errors.New("no space left on device")
	}
	return d.disk.write(file, content, mode)
}

func TestFullDisk(t *testing.T) {
	t.Parallel()
	dir := site(t, "")
	if _, err := add(dir, Options{Name: "phone"}, full{}); err == nil {
		t.Fatal("a full disk is no error")
	}
	if left, err := os.ReadDir(filepath.Join(dir, "secrets/clients")); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// Several at once get addresses of their own, and none is lost.
func TestAddAtOnce(t *testing.T) {
	t.Parallel()
	dir := site(t, "")
	var all sync.WaitGroup
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		all.Go(func() {
			if _, err := Add(dir, Options{Name: name}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	list, err := List(dir)
	if err != nil || len(list) != 6 {
		t.Errorf("%d peers, %v: %+v", len(list), err, list)
	}
}
