package images

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"ingot/fault"
	"ingot/layers"
)

// The samples are put together here so that no scanner takes this file for a
// leak.
func armour(what, body string) string {
	return "-----BEGIN " + what + "-----\n" + body + "\n-----END " + what + "-----\n"
}

const (
	base64Line = "b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2"
	wgKey      = "c8rjWkBU97aluuFEv5nHSQpHqLiXjG6ooLm7EOC0pAE="
)

func TestFindSecret(t *testing.T) {
	t.Parallel()
	private := "PRIVATE" + " KEY"
	for _, tc := range []struct{ name, content, want string }{
		{"/etc/app/id", armour("OPENSSH "+private, base64Line), "a private key"},
		{"/etc/app/id", armour("RSA "+private, base64Line), "a private key"},
		{"/etc/app/id", armour("EC "+private, base64Line), "a private key"},
		{"/etc/app/id", armour(private, base64Line), "a private key"},
		{"/etc/app/id", armour("ENCRYPTED "+private, base64Line), "a private key"},
		{"/etc/app/windows", strings.ReplaceAll(armour(private, base64Line), "\n", "\r\n"), "a private key"},
		{"/etc/app/old-encrypted", armour("RSA "+private, "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\n"+base64Line), "a private key"},
		{"/etc/app/gpg", armour("PGP "+private+" BLOCK", "\n"+base64Line), "a private key"},
		{"/etc/app/gpg-version", armour("PGP "+private+" BLOCK", "Version: GnuPG v2\nComment: mine\n\n"+base64Line), "a private key"},
		{"/etc/app/indented.yaml", "key: |\n  " + strings.ReplaceAll(armour(private, base64Line), "\n", "\n  "), "a private key"},
		{"/etc/app/account.json", `{"private_key": "` + strings.ReplaceAll(armour(private, base64Line), "\n", `\n`) + `"}`, "a private key"},
		{"/etc/app/behind-much-else", strings.Repeat("x", 1<<20) + "\n" + armour(private, base64Line), "a private key"},
		{"/etc/app/key.ppk", "PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\n", "a PuTTY private key"},
		{"/etc/app/age", "AGE-SECRET-" + "KEY-1" + strings.Repeat("Q", 58), "an age secret key"},
		{"/etc/wireguard/wg0.conf", "[Interface]\nPrivateKey = " + wgKey + "\n", "a WireGuard private key"},
		{"/etc/systemd/network/wg0.netdev", "[WireGuard]\nPrivateKey=" + wgKey + "\n", "a WireGuard private key"},
		{"/etc/wireguard/wg0.conf", "[Peer]\n\tpresharedkey = " + wgKey + "\n", "a WireGuard private key"},
		{"/etc/app/wg.json", `{"privateKey": "` + wgKey + `"}`, "a WireGuard private key"},
		{"/etc/app/wg.yaml", "wg:\n  private_key: " + wgKey, "a WireGuard private key"},
		{"/etc/wireguard/private", wgKey + "\n", "a WireGuard private key"},
		{"/etc/wireguard/server.key", wgKey, "a WireGuard private key"},
		{"/etc/app/env", "AWS_ACCESS_KEY_ID=AKIA" + "IOSFODNN7EXAMPLE\n", "an AWS access key"},
		{"/etc/app/env", "id: ASIA" + "IOSFODNN7EXAMPLE", "an AWS access key"},
		{"/etc/app/env", "ghp_" + strings.Repeat("a", 36), "a GitHub token"},
		{"/etc/app/env", "github_" + "pat_" + strings.Repeat("a", 82), "a GitHub token"},
		{"/etc/app/env", "glpat-" + strings.Repeat("a", 20), "a GitLab token"},
		{"/etc/app/env", "xoxb-" + strings.Repeat("1", 30), "a Slack token"},
		{"/etc/app/env", "sk-ant-" + strings.Repeat("a", 40), "an API key"},
		{"/etc/app/env", "sk-proj-" + strings.Repeat("a", 48), "an API key"},
		{"/etc/app/env", "sk-" + strings.Repeat("a", 48), "an API key"},
		{"/etc/app/env", "AIza" + strings.Repeat("a", 35), "a Google API key"},
		{"/etc/app/env", "dop_v1_" + strings.Repeat("a", 64), "a DigitalOcean token"},
		{"/etc/shadow", "admin:$y$j9T$abcdefghijk$xyz:19000:0:99999:7:::\n", "a password hash"},
		{"/etc/shadow", "daemon:*:1:0:99999:7:::\nadmin:$6$abcdefgh$xyz:19000:0:99999:7:::\n", "a password hash"},
		{"/etc/nginx/htpasswd", "admin:$2y$05$abcdefghijk\n", "a password hash"},

		{"/etc/app/pub", armour("PUBLIC KEY", base64Line), ""},
		{"/etc/app/cert", armour("CERTIFICATE", base64Line), ""},
		{"/etc/app/pgp", armour("PGP PUBLIC KEY BLOCK", "\n"+base64Line), ""},
		{"/etc/ssh/authorized_keys.d/admin", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIP3n5fysqTSD2F59GBq32PWPdQRwN1IviHFzfiRUHI5A laptop\n", ""},
		{"/etc/ssh/authorized_keys.d/token", "sk-ssh-ed25519@openssh.com AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29tAAAAIP3n5fysqTSD2F59GBq32PWPdQ laptop\n", ""},
		{"/etc/ssh/sshd_config", "PubkeyAcceptedAlgorithms webauthn-sk-ecdsa-sha2-nistp256@openssh.com,sk-ecdsa-sha2-nistp256-cert-v01@openssh.com\n", ""},
		{"/usr/share/doc/ssh.txt", "A file that starts with -----BEGIN OPENSSH " + private + "----- is a private key.\n", ""},
		{"/usr/share/doc/ssh.txt", armour("OPENSSH "+private, "<put your key here>"), ""},
		{"/usr/share/doc/ssh.txt", armour("RSA "+private, "MIIE..."), ""},
		{"/usr/bin/sshd", "\x00-----BEGIN OPENSSH " + private + "-----\n\x00-----END OPENSSH " + private + "-----\n\x00", ""},
		{"/etc/wireguard/wg0.conf", "[Peer]\nPublicKey = " + wgKey + "\n", ""},
		{"/etc/wireguard/wg0.conf", "[Interface]\nPrivateKeyFile=/etc/wireguard/private\n# PrivateKey = is in a secret slot\n", ""},
		{"/etc/wireguard/server.pub", wgKey + "\n", ""},
		{"/etc/app/env", "AKIAIOSFODNN7EXAMPL", ""},
		{"/etc/app/env", "XAKIA" + "IOSFODNN7EXAMPLE", ""},
		{"/etc/app/env", "ghp_" + strings.Repeat("a", 20), ""},
		{"/etc/app/env", "task-" + strings.Repeat("a", 48), ""},
		{"/etc/shadow", "admin:!:19000:0:99999:7:::\nroot:*:1:0:99999:7:::\n", ""},
		{"/etc/passwd", "admin:x:1000:1000::/home/admin:/bin/bash\n", ""},
		{"/etc/app/age.pub", "age1" + strings.Repeat("q", 58), ""},
		{"/etc/app/empty.key", "", ""},
	} {
		if got := findSecret(tc.name, []byte(tc.content)); got != tc.want {
			t.Errorf("%s: %q in\n%.200s\nwant %q", tc.name, got, tc.content, tc.want)
		}
	}
}

// archive makes a tar file of the entries.
func archive(t *testing.T, entries ...tar.Header) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "layers.tar")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := tar.NewWriter(f)
	for _, h := range entries {
		content := h.Linkname // of a regular file, here
		if h.Typeflag == tar.TypeReg {
			h.Linkname, h.Size = "", int64(len(content))
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := w.Write([]byte(content)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestScanTar(t *testing.T) {
	t.Parallel()
	key := armour("PRIVATE"+" KEY", base64Line)
	got, err := scanTar(archive(t,
		tar.Header{Typeflag: tar.TypeDir, Name: "./etc/"},
		tar.Header{Typeflag: tar.TypeReg, Name: "./etc/a", Linkname: key},
		tar.Header{Typeflag: tar.TypeReg, Name: "./etc/b", Linkname: "fine"},
		tar.Header{Typeflag: tar.TypeSymlink, Name: "./etc/c", Linkname: "a"},
		tar.Header{Typeflag: tar.TypeReg, Name: "./" + strings.Repeat("long/", 50) + "d", Linkname: key},
	))
	want := []secret{{"/etc/a", "a private key"}, {"/" + strings.Repeat("long/", 50) + "d", "a private key"}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v (%v), want %v", got, err, want)
	}
}

func TestScanTarRefusesABrokenArchive(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(file string) error{
		"truncated":    func(file string) error { return os.Truncate(file, 2048) },
		"not a header": func(file string) error { return os.WriteFile(file, bytes.Repeat([]byte("x"), 2048), 0o644) },
		"missing":      os.Remove,
	} {
		file := archive(t, tar.Header{Typeflag: tar.TypeReg, Name: "./etc/a", Linkname: strings.Repeat("x", 4096)})
		if err := spoil(file); err != nil {
			t.Fatal(err)
		}
		if found, err := scanTar(file); err == nil {
			t.Errorf("%s: read as %v", name, found)
		}
	}
}

func TestRefuseSecretsNamesTheLayer(t *testing.T) {
	t.Parallel()
	key := armour("PRIVATE"+" KEY", base64Line)
	reg := func(name string) tar.Header { return tar.Header{Typeflag: tar.TypeReg, Name: name, Linkname: key} }
	plan := layers.Plan{Owner: map[string]string{
		"file /etc/app/key": "custom/app", "unit app.service": "custom/unit", "drop-in sshd.service.d/10-key.conf": "custom/drop-in",
	}}
	err := refuseSecrets(archive(t,
		reg("./etc/app/key"), reg("./etc/systemd/system/app.service"), reg("./etc/systemd/system/sshd.service.d/10-key.conf"), reg("./etc/other"),
	), plan)
	if fault.Of(err) != fault.OfInput {
		t.Fatalf("%v, want the input's fault", err)
	}
	for _, want := range []string{
		"layer custom/app: /etc/app/key holds a private key", "layer custom/unit: /etc/systemd/system/app.service holds",
		"layer custom/drop-in: /etc/systemd/system/sshd.service.d/10-key.conf holds", "layer unknown: /etc/other holds", "use a secret slot",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in\n%v", want, err)
		}
	}
	if strings.Contains(err.Error(), base64Line[:16]) {
		t.Errorf("the error shows the secret:\n%v", err)
	}
	if err := refuseSecrets(archive(t, tar.Header{Typeflag: tar.TypeReg, Name: "./etc/fine", Linkname: "fine"}), plan); err != nil {
		t.Errorf("nothing to find: %v", err)
	}
}
