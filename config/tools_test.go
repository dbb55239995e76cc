package config_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"ingot/layers"
)

// The programs that will read the files are asked what they think of them,
// where this machine has them.

func tool(t *testing.T, name string) string {
	t.Helper()
	for _, candidate := range []string{name, "/usr/sbin/" + name, "/sbin/" + name} {
		if p, err := exec.LookPath(candidate); err == nil {
			return p
		}
	}
	t.Skipf("%s is not installed here; the build runs it inside the image", name)
	return ""
}

func run(t *testing.T, env []string, argv ...string) (string, error) {
	t.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// examplePlan is the example with more of everything switched on.
func examplePlan(t *testing.T) layers.Plan {
	t.Helper()
	text := replace(t, exampleText(t), "  nftables:\n    allow:\n", `  nftables:
    ping: true
    egress: {allow: [{port: 443, to: 2001:db8::/32, why: an API}]}
    allow:
      - {port: 5353, proto: udp, why: "it's # a { strange } ; $why, naïve 日本"}
`)
	loaded, findings := load(t, project(t, text, nil))
	if len(findings) > 0 {
		t.Fatal(rendered(t, findings))
	}
	return loaded.Plan
}

func content(t *testing.T, f layers.Fragment, path string) string {
	t.Helper()
	for _, x := range f.Files {
		if x.Path == path {
			return x.Contents
		}
	}
	t.Fatalf("no file %s", path)
	return ""
}

func temp(t *testing.T, name, content string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	write(t, file, content)
	return file
}

// nft runs in a network namespace of its own: checking a ruleset asks the
// kernel, and loading it must not touch this machine's.
func TestNft(t *testing.T) {
	t.Parallel()
	nft, unshare := tool(t, "nft"), tool(t, "unshare")
	namespace := []string{unshare, "--map-root-user", "--net", "--"}
	if out, err := run(t, nil, append(namespace, "true")...); err != nil {
		t.Skipf("no network namespace to be had here: %s", out)
	}
	if out, err := run(t, nil, append(namespace, nft, "list", "tables")...); err != nil {
		t.Skipf("this kernel has no nftables: %s", out)
	}
	ruleset := content(t, examplePlan(t).Image, "/etc/nftables.conf")
	for name, c := range map[string]struct {
		ruleset string
		ok      bool
	}{
		"as rendered": {ruleset, true},
		"broken":      {replace(t, ruleset, "policy drop;", "policy perhaps;"), false},
		"reserved":    {strings.ReplaceAll(ruleset, "from_tunnel", "counter"), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out, err := run(t, nil, append(namespace, nft, "-c", "-f", temp(t, "nftables.conf", c.ruleset))...)
			if strings.Contains(out, "No such file or directory") && strings.Contains(out, "fib") {
				t.Skipf("this kernel has no nft_fib: %s", out)
			}
			if (err == nil) != c.ok {
				t.Errorf("nft -c: %v\n%s", err, out)
			}
		})
	}
}

func TestSshd(t *testing.T) {
	t.Parallel()
	sshd, keygen := tool(t, "sshd"), tool(t, "ssh-keygen")
	if os.Getuid() != 0 {
		t.Skip("sshd -t looks at /run/sshd as root only")
	}
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
		t.Skipf("sshd -t wants /run/sshd: %v", err)
	}
	config := content(t, examplePlan(t).Image, "/etc/ssh/sshd_config")
	key := filepath.Join(t.TempDir(), "key")
	if out, err := run(t, nil, keygen, "-q", "-t", "ed25519", "-N", "", "-f", key); err != nil {
		t.Fatal(out)
	}
	config = replace(t, config, "HostKey /var/lib/ingot/ssh/ssh_host_ed25519_key", "HostKey "+key)
	kex, _ := run(t, nil, tool(t, "ssh"), "-Q", "kex")
	for _, name := range []string{"mlkem768x25519-sha256,", "sntrup761x25519-sha512,"} {
		if !strings.Contains(kex, strings.TrimSuffix(name, ",")+"\n") {
			t.Logf("this OpenSSH has no %s", name)
			config = replace(t, config, name, "")
		}
	}
	if out, _ := run(t, nil, sshd, "-t", "-f", "/dev/null", "-o", "PerSourcePenalties=no"); strings.Contains(out, "Bad configuration option") {
		t.Log("this OpenSSH has no PerSourcePenalties")
		config = replace(t, config, "\nPerSourcePenalties ", "\n# PerSourcePenalties ")
	}
	out, err := run(t, nil, sshd, "-T", "-f", temp(t, "sshd_config", config))
	if err != nil {
		t.Fatalf("sshd -T: %v\n%s", err, out)
	}
	for _, want := range []string{
		"allowusers clawadmin", "permitrootlogin no", "passwordauthentication no", "kbdinteractiveauthentication no",
		"authenticationmethods publickey", "disableforwarding yes", "allowtcpforwarding no", "allowagentforwarding no",
		"allowstreamlocalforwarding no", "x11forwarding no", "permittunnel no", "maxauthtries 3", "usepam yes",
		"authorizedkeysfile /etc/ssh/authorized_keys.d/%u", "loglevel VERBOSE", "requiredrsasize 3072",
	} {
		if !strings.Contains(strings.ToLower(out), strings.ToLower(want)+"\n") {
			t.Errorf("sshd does not say %q", want)
		}
	}
	broken := replace(t, config, "PermitRootLogin no", "PermitRootLogin perhaps")
	if out, err := run(t, nil, sshd, "-t", "-f", temp(t, "sshd_config", broken)); err == nil {
		t.Errorf("sshd -t accepts anything: %s", out)
	}
}

func TestVisudo(t *testing.T) {
	t.Parallel()
	visudo := tool(t, "visudo")
	sudoers := content(t, examplePlan(t).Image, "/etc/sudoers.d/10-ingot-admin")
	for text, ok := range map[string]bool{sudoers: true, sudoers + "clawadmin ALL=\n": false} {
		if out, err := run(t, nil, visudo, "-c", "-f", temp(t, "sudoers", text)); (err == nil) != ok {
			t.Errorf("visudo -c: %v\n%s", err, out)
		}
	}
}

func TestSystemdVerify(t *testing.T) {
	t.Parallel()
	analyze := tool(t, "systemd-analyze")
	plan := examplePlan(t)
	dir := t.TempDir()
	var names []string
	for _, u := range plan.Image.Units {
		if u.Mask {
			continue
		}
		names = append(names, u.Name)
		if u.Contents != "" {
			// Programs of the image are not on this machine.
			write(t, filepath.Join(dir, u.Name), replace(t, u.Contents, "ExecStart=/usr/libexec/ingot/hostkey", "ExecStart=/bin/true"))
		} else if !known(u.Name) {
			t.Skipf("this machine has no %s; the build runs systemd-analyze inside the image", u.Name)
		}
		for _, d := range u.Dropins {
			write(t, filepath.Join(dir, u.Name+".d", d.Name), d.Contents)
		}
	}
	env := []string{"SYSTEMD_UNIT_PATH=" + dir + ":"}
	verify := append([]string{analyze, "verify", "--man=no", "--recursive-errors=no"}, names...)
	if out, err := run(t, env, verify...); err != nil || strings.Contains(out, dir) {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
	write(t, filepath.Join(dir, "ssh.socket.d", "20-broken.conf"), "[Socket]\nListenStrem=22\n")
	if out, _ := run(t, env, verify...); !strings.Contains(out, "ListenStrem") {
		t.Errorf("systemd-analyze finds nothing in a broken unit:\n%s", out)
	}
}

// known reports whether a package of this machine brings the unit.
func known(unit string) bool {
	for _, dir := range []string{"/usr/lib/systemd/system", "/lib/systemd/system"} {
		if _, err := os.Stat(filepath.Join(dir, unit)); err == nil {
			return true
		}
	}
	return false
}
