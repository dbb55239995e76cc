package attest

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"filippo.io/age"
	"golang.org/x/crypto/ssh"

	"ingot/fault"
	"ingot/secrets"
)

// private is a key's PEM.
func private(t *testing.T, key any) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

func write(t *testing.T, file, content string, mode fs.FileMode) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(file, mode); err != nil { // whatever the umask
		t.Fatal(err)
	}
	return file
}

// The first place that has a key wins.
func TestWhereAKeyComesFrom(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	inFolder := write(t, filepath.Join(folder, "secrets/test.key"), private(t, keyOf('d').private), 0o600)
	p := Places{
		PEM:    private(t, keyOf('v').private),
		File:   write(t, filepath.Join(folder, "f"), private(t, keyOf('f').private), 0o400),
		Folder: folder,
		Local:  write(t, filepath.Join(folder, "l"), private(t, keyOf('l').private), 0o600),
	}
	for _, c := range []struct {
		letter byte
		source string
		local  bool
		gone   func()
	}{
		{'v', "INGOT_TEST_KEY", false, func() { p.PEM = "" }},
		{'f', p.File, false, func() { p.File = "" }},
		{'d', inFolder, false, func() { p.Folder = t.TempDir() }},
		{'l', p.Local, true, func() {}},
	} {
		k, err := FindKey(p)
		if err != nil {
			t.Fatal(err)
		}
		if !k.Public().Equal(keyOf(c.letter).Public()) || k.Source != c.source || k.Local != c.local {
			t.Errorf("the key of %s, local %t; want that of %s, local %t", k.Source, k.Local, c.source, c.local)
		}
		c.gone()
	}
}

func TestPlacesOf(t *testing.T) {
	t.Setenv("INGOT_TEST_KEY", "pem")
	t.Setenv("INGOT_TEST_KEY_FILE", "file")
	t.Setenv("INGOT_AGE_IDENTITY", "identity")
	t.Setenv("XDG_CONFIG_HOME", "/home/me/.config")
	if got, want := PlacesOf("dir"), (Places{"pem", "file", "dir", "identity", "/home/me/.config/ingot/local-test.key"}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	t.Setenv("XDG_CONFIG_HOME", "")
	t.Setenv("HOME", "")
	if got := PlacesOf("dir").Local; got != "" {
		t.Errorf("without a home, the local key is %q", got)
	}
}

// Runs that need the local key at once get the same one, whole.
func TestTheLocalKeyIsMadeOnce(t *testing.T) {
	t.Parallel()
	p := Places{Folder: t.TempDir(), Local: filepath.Join(t.TempDir(), "config/ingot/local-test.key")}
	if p.LocalKey() != nil {
		t.Error("a local key that is not there")
	}
	keys := make([]ed25519.PublicKey, 16)
	var all sync.WaitGroup
	for i := range keys {
		all.Go(func() {
			k, err := FindKey(p)
			if err != nil || !k.Local || k.Source != p.Local {
				t.Errorf("%+v, %v", k, err)
				return
			}
			keys[i] = k.Public()
		})
	}
	all.Wait()
	for _, k := range keys {
		if !k.Equal(p.LocalKey()) {
			t.Errorf("a key is %x, the local one %x", k, p.LocalKey())
		}
	}
	if info, err := os.Stat(p.Local); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("its file has %v, %v", info.Mode(), err)
	}
	if info, err := os.Stat(filepath.Dir(p.Local)); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("its folder has %v, %v", info.Mode(), err)
	}
}

func TestNoPlaceForALocalKey(t *testing.T) {
	t.Parallel()
	blocked := write(t, filepath.Join(t.TempDir(), "file"), "", 0o600)
	for local, want := range map[string]string{"": "no home folder", filepath.Join(blocked, "ingot/key"): "not a directory"} {
		_, err := FindKey(Places{Folder: t.TempDir(), Local: local})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want …%s…", local, err, want)
		}
	}
}

// other are texts that are no key to sign with.
func other(t *testing.T) map[string]struct{ text, want string } {
	t.Helper()
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	sshBlock, err := ssh.MarshalPrivateKey(keyOf('k').private, "")
	if err != nil {
		t.Fatal(err)
	}
	block := func(kind string) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: []byte("x")}))
	}
	good := private(t, keyOf('k').private)
	return map[string]struct{ text, want string }{
		"public key":        {string(publicPEM(keyOf('k').Public())), "this is a public key; the private half signs"},
		"RSA":               {private(t, rsaKey), "this is an RSA key; verdicts are signed with ed25519"},
		"RSA in PKCS #1":    {block("RSA PRIVATE KEY"), "this is an RSA key"},
		"ECDSA":             {private(t, ecKey), "this is an ECDSA key"},
		"SSH":               {string(pem.EncodeToMemory(sshBlock)), "this is a key of SSH"},
		"with a passphrase": {block("ENCRYPTED PRIVATE KEY"), "encrypted with a passphrase"},
		"of cosign":         {block("ENCRYPTED SIGSTORE PRIVATE KEY"), "encrypted with a passphrase"},
		"certificate":       {block("CERTIFICATE"), "this is a PEM file of a certificate"},
		"garbage in PEM":    {block("PRIVATE KEY"), "holds no private key that can be read"},
		"garbage":           {"hunter2", "this is not a PEM file"},
		"the line":          {Line(keyOf('k').Public()), "this is not a PEM file"},
		"empty":             {"\n", "this is not a PEM file"},
		"two keys":          {good + good, "more than one key"},
		"cut off":           {good[:len(good)-10], "this is not a PEM file"},
	}
}

func TestWhatIsNoKey(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, c := range other(t) {
		for how, p := range map[string]Places{
			"INGOT_TEST_KEY": {PEM: c.text},
			"the key in":     {File: write(t, filepath.Join(dir, name), c.text, 0o600)},
		} {
			_, err := FindKey(p)
			if err == nil || fault.Of(err) != fault.OfInput || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), how) {
				t.Errorf("%s: %v, want %s: …%s…", name, err, how, c.want)
			}
			if err != nil && strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%s: the error shows the secret: %v", name, err)
			}
		}
	}
	good := private(t, keyOf('k').private)
	for name, c := range map[string]struct {
		p    Places
		want string
	}{
		"all may read it":   {Places{File: write(t, filepath.Join(dir, "open"), good, 0o604)}, "others may read it (mode 0604), so that it is no secret; run chmod 600"},
		"the group may":     {Places{File: write(t, filepath.Join(dir, "group"), good, 0o640)}, "others may read it (mode 0640)"},
		"the folder's, too": {Places{Folder: filepath.Dir(filepath.Dir(write(t, filepath.Join(dir, "srv/secrets/test.key"), good, 0o644)))}, "srv/secrets/test.key: others may read it"},
		"the local one":     {Places{Folder: t.TempDir(), Local: write(t, filepath.Join(dir, "local"), good, 0o644)}, "local: others may read it"},
		"none of that name": {Places{File: filepath.Join(dir, "none")}, "none: no such file"},
		"a folder":          {Places{File: dir}, "is a directory"},
		"too large":         {Places{File: write(t, filepath.Join(dir, "large"), strings.Repeat("\n", maxKeyBytes+1), 0o600)}, "larger than 64 KiB"},
	} {
		if _, err := FindKey(c.p); err == nil || fault.Of(err) != fault.OfInput || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want …%s…", name, err, c.want)
		}
	}
}

// swapped turns the case of a letter near the end of an armoured text.
func swapped(text string) string {
	b := []byte(text)
	for i := len(b) - 50; ; i-- {
		if b[i] >= 'A' && b[i] <= 'Z' {
			b[i] += 'a' - 'A'
			return string(b)
		}
	}
}

func TestEncryptedKeys(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	sshPrivate, err := ssh.MarshalPrivateKey(keyOf('s').private, "")
	if err != nil {
		t.Fatal(err)
	}
	sshPublic, err := ssh.NewPublicKey(keyOf('s').Public())
	if err != nil {
		t.Fatal(err)
	}
	recipients, err := secrets.ParseRecipients([]string{id.Recipient().String(), string(ssh.MarshalAuthorizedKey(sshPublic))})
	if err != nil {
		t.Fatal(err)
	}
	text, err := secrets.Encrypt([]byte(private(t, keyOf('k').private)), recipients)
	if err != nil {
		t.Fatal(err)
	}
	var binary bytes.Buffer
	w, err := age.Encrypt(&binary, id.Recipient())
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.Write([]byte(private(t, keyOf('k').private)))
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	mine := write(t, filepath.Join(dir, "mine"), "# a comment\n"+id.String()+"\n", 0o600)
	file := write(t, filepath.Join(dir, "key"), string(text), 0o644) // what is encrypted may be seen

	for name, p := range map[string]Places{
		"age":              {File: file, Identity: mine},
		"without armour":   {File: write(t, filepath.Join(dir, "binary"), binary.String(), 0o644), Identity: mine},
		"SSH":              {File: file, Identity: write(t, filepath.Join(dir, "ssh"), string(pem.EncodeToMemory(sshPrivate)), 0o600)},
		"in the variable":  {PEM: "\n" + string(text), Identity: mine},
		"beside the yaml":  {Folder: filepath.Dir(filepath.Dir(write(t, filepath.Join(dir, "srv/secrets/test.key"), string(text), 0o600))), Identity: mine},
		"two of them, one": {File: file, Identity: write(t, filepath.Join(dir, "two"), stranger.String()+"\n"+id.String()+"\n", 0o600)},
	} {
		if k, err := FindKey(p); err != nil || !k.Public().Equal(keyOf('k').Public()) {
			t.Errorf("%s: %v", name, err)
		}
	}

	rubbish, err := secrets.Encrypt([]byte("hunter2"), recipients)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		p    Places
		want string
	}{
		"no identity":         {Places{File: file}, "it is encrypted with age; name a file with your identity in INGOT_AGE_IDENTITY"},
		"identity not there":  {Places{File: file, Identity: filepath.Join(dir, "none")}, "none: no such file"},
		"another identity":    {Places{File: file, Identity: write(t, filepath.Join(dir, "other"), stranger.String(), 0o600)}, "it is encrypted to somebody else"},
		"identity is open":    {Places{File: file, Identity: write(t, filepath.Join(dir, "open"), id.String(), 0o644)}, "others may read it (mode 0644)"},
		"identity is no one":  {Places{File: file, Identity: write(t, filepath.Join(dir, "public"), id.Recipient().String(), 0o600)}, "no file of identities"},
		"identity is garbage": {Places{File: file, Identity: write(t, filepath.Join(dir, "pem"), private(t, keyOf('s').private)[:60], 0o600)}, "no SSH key that can be used"},
		"changed":             {Places{File: write(t, filepath.Join(dir, "changed"), swapped(string(text)), 0o600), Identity: mine}, "decrypt with age"},
		"no key inside":       {Places{File: write(t, filepath.Join(dir, "rubbish"), string(rubbish), 0o600), Identity: mine}, "this is not a PEM file"},
	} {
		if _, err := FindKey(c.p); err == nil || fault.Of(err) != fault.OfInput || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v, want …%s…", name, err, c.want)
		}
	}
}

func TestMakeKey(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "secrets", "test.key")
	public, err := MakeKey(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, mode := range map[string]fs.FileMode{file: 0o600, file + ".pub": 0o644, filepath.Dir(file): 0o700, filepath.Join(dir, "secrets/.gitignore"): 0o644} {
		if info, err := os.Stat(name); err != nil || info.Mode().Perm()&^0o044 != mode&^0o044 || mode == 0o600 && info.Mode().Perm() != mode {
			t.Errorf("%s has %v, want %v, %v", name, info.Mode(), mode, err)
		}
	}
	k, err := FindKey(Places{Folder: dir})
	if err != nil || !k.Public().Equal(public) || k.Local {
		t.Errorf("the key that is found is %+v, %v", k, err)
	}
	text, err := os.ReadFile(file + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := ParsePublic(text); err != nil || !got.Equal(public) {
		t.Errorf("the .pub file holds %x, %v", got, err)
	}
	if line := Line(public); len(line) != 60 || !strings.Contains(string(text), "\n"+line+"\n") {
		t.Errorf("the line is %q, the file\n%s", line, text)
	}
}

// Nothing that is there is lost, and no half of a pair is left.
func TestMakeKeyReplacesNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	kept := write(t, filepath.Join(dir, "kept"), "precious", 0o600)
	if _, err := MakeKey(kept, nil); err == nil || fault.Of(err) != fault.OfInput || !strings.Contains(err.Error(), "is there already") {
		t.Errorf("over a key: %v", err)
	}
	if _, err := os.Stat(kept + ".pub"); !errors.Is(err, fs.ErrNotExist) {
		t.Error("a public half of no key was made")
	}
	half := filepath.Join(dir, "half")
	write(t, half+".pub", "precious", 0o644)
	if _, err := MakeKey(half, nil); err == nil || fault.Of(err) != fault.OfInput || !strings.Contains(err.Error(), "half.pub is there already") {
		t.Errorf("over a public key: %v", err)
	}
	if _, err := os.Stat(half); !errors.Is(err, fs.ErrNotExist) {
		t.Error("a private half without its public one is left")
	}
	for _, file := range []string{kept, half + ".pub"} {
		if got, err := os.ReadFile(file); err != nil || string(got) != "precious" {
			t.Errorf("%s holds %q, %v", file, got, err)
		}
	}
	if _, err := MakeKey(filepath.Join(dir, "none/key"), nil); err == nil || fault.Of(err) != fault.OfInput {
		t.Errorf("in a folder that is not there: %v", err)
	}
}

func TestParsePublic(t *testing.T) {
	t.Parallel()
	for name, c := range other(t) {
		if strings.HasPrefix(name, "public") {
			continue
		}
		if _, err := ParsePublic([]byte(c.text)); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := ParsePublic([]byte(private(t, keyOf('k').private))); err == nil || !strings.Contains(err.Error(), "this is a private key; give its public half") {
		t.Errorf("a private key: %v", err)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(rsaKey.Public())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ParsePublic(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})); err == nil || !strings.Contains(err.Error(), "this is an RSA key") {
		t.Errorf("RSA: %v", err)
	}
}

// openssl, which is not ours, reads both halves and holds them for a pair.
func TestOpenSSLReadsTheKeys(t *testing.T) {
	t.Parallel()
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("openssl is not installed")
	}
	file := filepath.Join(t.TempDir(), "test.key")
	if _, err := MakeKey(file, nil); err != nil {
		t.Fatal(err)
	}
	got, err := exec.CommandContext(t.Context(), openssl, "pkey", "-in", file, "-pubout").Output()
	if err != nil {
		t.Fatal(err)
	}
	if want, err := os.ReadFile(file + ".pub"); err != nil || !bytes.Equal(got, want) {
		t.Errorf("openssl says\n%s, the .pub file\n%s, %v", got, want, err)
	}
}
