package sudo

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"unicode"

	"ingot/layers"
)

var site = layers.Site{Admin: layers.Admin{User: "clawadmin"}}

// What is refused, and a word of the reason.
func TestRefused(t *testing.T) {
	t.Parallel()
	for text, reason := range map[string]string{
		"":                                     "empty",
		"  ":                                   "empty",
		"ALL":                                  "makes the account root",
		"/usr/bin/systemctl ALL":               "makes the account root",
		"sudoedit /etc/passwd":                 "sudoedit",
		"systemctl restart openclaw":           "not an absolute path",
		"./run":                                "not an absolute path",
		"/usr/bin/*":                           "wildcard in the path",
		"/usr/bin/":                            "not the path of one program",
		"/usr/bin/../../tmp/x":                 "not the path of one program",
		"/tmp/deploy":                          "sealed",
		"/var/lib/x":                           "sealed",
		"/home/openclaw/x":                     "sealed",
		"/usr/bin/id, /usr/bin/vi":             "comma",
		`/usr/bin/id \`:                        "backslash",
		"/usr/bin/id #x":                       "#include",
		"/usr/bin/id\n#include /tmp/x":         "#include",
		"!/usr/bin/id":                         "denies",
		"/usr/bin/id ?":                        "wildcard",
		"/usr/bin/id [a-z]":                    "wildcard",
		`/usr/bin/id ""`:                       "without a shell",
		"/usr/bin/id $(x)":                     "without a shell",
		"/usr/bin/id ^.*$":                     "without a shell",
		"/usr/bin/id\n/usr/bin/x":              "cannot be in one",
		"/usr/bin/id\x00":                      "cannot be in one",
		"/usr/bin/id\x1b[0m":                   "wildcard",
		"/usr/bin/id é":                        "cannot be in one",
		"/opt/my-tool *":                       "any argument through",
		"/usr/bin/systemctl":                   "without a verb",
		"/usr/bin/systemctl *":                 "every verb",
		"/usr/bin/systemctl restart":           "without a unit",
		"/usr/bin/systemctl restart *":         "not the name",
		"/usr/bin/systemctl restart o*":        "not the name",
		"/usr/bin/systemctl restart a*b*c":     "not the name",
		"/usr/bin/systemctl restart /tmp/x":    "not the name",
		"/usr/bin/systemctl restart abc* -H x": "not known to be harmless",
		"/usr/bin/systemctl edit openclaw":     "edit, link and enable",
		"/usr/bin/systemctl link openclaw":     "edit, link and enable",
		"/usr/bin/systemctl enable openclaw":   "edit, link and enable",
		"/bin/systemctl status openclaw*":      "pager",
		"/usr/bin/systemctl start deb*":        "root shell",
		"/usr/bin/systemctl start runlevel1":   "root shell",
		"/usr/bin/systemctl stop ssh.socket":   "way in",
		"/usr/bin/systemctl stop nftables":     "way in",
		"/usr/bin/systemctl restart sys*":      "way in",
		"/usr/bin/systemctl start reboot":      "whole machine",
		"/usr/bin/systemctl stop net*":         "whole machine",
		"/usr/bin/systemctl start rescue":      "root shell",
		"/usr/bin/journalctl --unit=openclaw":  "pager",
		"/usr/bin/journalctl --no-pager":       "everybody's",
		"/usr/bin/journalctl --vacuum-time=1s": "not known to be harmless",
		strings.Repeat("/usr/bin/id ", 100):    "longer than",
		"/bin/sh":                              "is a shell",
		"/usr/bin/python3.13 /opt/x.py":        "is an interpreter",
		"/usr/bin/vim.tiny":                    "is an editor",
		"/usr/bin/less /var/log/x":             "is a pager",
		"/usr/bin/nsenter":                     "starts other programs",
		"/usr/sbin/mount.cifs":                 "writes files",
		"/usr/bin/podman ps":                   "runs containers",
	} {
		_, got := parse(text)
		if got == nil {
			t.Errorf("%q is allowed", text)
			continue
		}
		if !strings.Contains(got.message, reason) || got.advice == "" {
			t.Errorf("%q: %q, want %q in it; advice %q", text, got.message, reason, got.advice)
		}
	}
	// What a review got past a list of known programs.
	for text := range strings.Lines(judgedBefore) {
		if _, got := parse(strings.TrimSpace(text)); got == nil {
			t.Errorf("%s is allowed", text)
		}
	}
	// The list, one by one.
	for name := range strings.FieldsSeq("vi less more man find awk perl python env tar nsenter mount docker podman bash dash ed nano python3 su sudo systemd-run ip git apt dpkg") {
		if _, got := parse("/usr/bin/" + name + " x"); got == nil {
			t.Errorf("%s is allowed", name)
		}
	}
}

// judgedBefore are commands that are a root shell, or nearly, and on no list of
// such programs.
const judgedBefore = `/usr/bin/linux64
	/usr/lib64/ld-linux-x86-64.so.2 /usr/bin/dash
	/usr/sbin/sulogin -e
	/usr/bin/fail2ban-client -i
	/usr/bin/systemd-inhibit /usr/bin/bash
	/usr/bin/ssh-agent /usr/bin/bash
	/usr/bin/systemd-socket-activate --listen=9999 /usr/bin/bash
	/usr/bin/networkctl edit wg0
	/usr/bin/wg-quick up /tmp/x.conf
	/usr/sbin/sshd -f /tmp/x
	/usr/bin/wg showconf wg0
	/usr/bin/dmesg -H
	/usr/bin/xzless
	/usr/bin/gcc-14
	/usr/bin/login -f root
	/usr/bin/true`

func TestRendered(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"/usr/bin/systemctl restart openclaw*":             "NOPASSWD: /usr/bin/systemctl ^restart openclaw[A-Za-z0-9@._-]*$",
		"/bin/systemctl  restart openclaw.service":         "NOPASSWD: /usr/bin/systemctl restart openclaw.service",
		"/usr/bin/systemctl stop openclaw*.service":        `NOPASSWD: /usr/bin/systemctl ^stop openclaw[A-Za-z0-9@._-]*\.service$`,
		"/usr/bin/systemctl status --no-pager openclaw*":   "NOPASSWD:NOEXEC: /usr/bin/systemctl ^status --no-pager openclaw[A-Za-z0-9@._-]*$",
		"/usr/bin/journalctl --no-pager --unit=openclaw":   `NOPASSWD:NOEXEC: /usr/bin/journalctl --no-pager --unit\=openclaw`,
		"/opt/claw/deploy":                                 `NOPASSWD: /opt/claw/deploy ""`,
		"/usr/local/bin/backup --to=nas:2 now":             `NOPASSWD: /usr/local/bin/backup --to\=nas\:2 now`,
		"/usr/bin/systemctl is-active --quiet openclaw@1.": "NOPASSWD:NOEXEC: /usr/bin/systemctl is-active --quiet openclaw@1.",
	} {
		got := sudoers(Account{Name: "openclaw", Why: "a reason", Commands: []string{text}})
		if lines := strings.Split(strings.TrimSpace(got), "\n"); len(lines) != 3 || lines[2] != "openclaw ALL=(root) "+want {
			t.Errorf("%q gives\n%s\nwant %s", text, got, want)
		}
	}
}

func TestAccounts(t *testing.T) {
	t.Parallel()
	good := Account{Name: "openclaw", Why: "restarts", Commands: []string{"/usr/bin/systemctl restart openclaw*"}}
	change := func(f func(*Account)) Account { a := good; f(&a); return a }
	for name, c := range map[string]struct {
		accounts []Account
		want     string
	}{
		"good":            {[]Account{good}, ""},
		"none":            {nil, ""},
		"two":             {[]Account{change(func(a *Account) { a.UID = 500 }), change(func(a *Account) { a.UID, a.Name = 501, "claw" })}, ""},
		"name":            {[]Account{change(func(a *Account) { a.Name = "a b\nroot ALL=(ALL) ALL" })}, "is not a user name"},
		"include":         {[]Account{change(func(a *Account) { a.Name = "#include" })}, "is not a user name"},
		"group":           {[]Account{change(func(a *Account) { a.Name = "%sudo" })}, "is not a user name"},
		"all":             {[]Account{change(func(a *Account) { a.Name = "ALL" })}, "is not a user name"},
		"root":            {[]Account{change(func(a *Account) { a.Name = "root" })}, "root"},
		"taken":           {[]Account{change(func(a *Account) { a.Name = "www-data" })}, "belongs to the system"},
		"admin":           {[]Account{change(func(a *Account) { a.Name = "clawadmin" })}, "administrator"},
		"no why":          {[]Account{change(func(a *Account) { a.Why = " " })}, "needs a reason"},
		"why newline":     {[]Account{change(func(a *Account) { a.Why = "x\nopenclaw ALL=(ALL) NOPASSWD: ALL" })}, "line break"},
		"why backslash":   {[]Account{change(func(a *Account) { a.Why = `x \` })}, "backslash"},
		"why separator":   {[]Account{change(func(a *Account) { a.Why = "x\u2028y" })}, "unprintable"},
		"no commands":     {[]Account{change(func(a *Account) { a.Commands = nil })}, "may run nothing"},
		"command twice":   {[]Account{change(func(a *Account) { a.Commands = append(a.Commands, a.Commands...) })}, "there twice"},
		"number":          {[]Account{change(func(a *Account) { a.UID = 1000 })}, "not a number for"},
		"same name":       {[]Account{change(func(a *Account) { a.UID = 500 }), change(func(a *Account) { a.UID = 501 })}, "same name"},
		"same number":     {[]Account{change(func(a *Account) { a.UID = 500 }), change(func(a *Account) { a.Name, a.UID = "x", 500 })}, "same number"},
		"numbers missing": {[]Account{change(func(a *Account) { a.UID = 500 }), change(func(a *Account) { a.Name = "x" })}, "no number of its own"},
	} {
		findings := (Layer{Options{Accounts: c.accounts}}).Validate(site)
		switch {
		case c.want == "" && len(findings) > 0:
			t.Errorf("%s: %+v", name, findings)
		case c.want != "" && (len(findings) != 1 || !strings.Contains(findings[0].Message, c.want) || findings[0].Advice == ""):
			t.Errorf("%s: %+v, want one with %q", name, findings, c.want)
		}
	}
}

func TestEveryCheckHasASabotage(t *testing.T) {
	t.Parallel()
	l := Layer{Options{Accounts: []Account{{Name: "openclaw", Why: "x", Commands: []string{
		"/usr/bin/systemctl restart openclaw*", "/usr/bin/systemctl status --no-pager openclaw*", "/opt/claw/deploy",
	}}}}}
	list := l.Contribute(site).Checks
	if len(list) != 3+3+3+2 {
		t.Errorf("%d checks", len(list))
	}
	for _, c := range list {
		if c.Sabotage == "" {
			t.Errorf("%s cannot be seen failing", c.ID)
		}
	}
}

// sudo itself decides, in a mount namespace with our file as its sudoers.
func TestSudoAgrees(t *testing.T) {
	t.Parallel()
	for _, program := range []string{"sudo", "unshare", "mount"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%s is not installed here; the assay asks the image's", program)
		}
	}
	if os.Getuid() != 0 {
		t.Skip("only root may put another sudoers in place; the assay asks the image's")
	}
	const user = "daemon" // any account that this machine has
	file := filepath.Join(t.TempDir(), "sudoers")
	text := sudoers(Account{Name: user, Why: "x", Commands: []string{
		"/usr/bin/systemctl restart openclaw*", "/usr/bin/systemctl status --no-pager openclaw*.service", "/opt/tool", "/usr/local/bin/tool --x=a:b",
	}})
	if err := os.WriteFile(file, []byte(text), 0o440); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "unshare", "-m", "mount", "--bind", file, "/etc/sudoers").CombinedOutput(); err != nil {
		t.Skipf("this machine allows no mounts: %s", out)
	}
	for line, allowed := range map[string]bool{
		"/usr/bin/systemctl restart openclaw":                               true,
		"/usr/bin/systemctl restart openclaw-x@1.service":                   true,
		"/usr/bin/systemctl restart openclaw sshd":                          false,
		"/usr/bin/systemctl restart openclaw/../sshd":                       false,
		"/usr/bin/systemctl restart sshd":                                   false,
		"/usr/bin/systemctl restart":                                        false,
		"/usr/bin/systemctl stop openclaw":                                  false,
		"/usr/bin/systemctl":                                                false,
		"/usr/bin/systemctl status --no-pager openclaw-a.service":           true,
		"/usr/bin/systemctl status --no-pager openclaw-axservice":           false,
		"/usr/bin/systemctl status openclaw-a.service":                      false,
		"/usr/bin/systemctl status --no-pager openclaw-a.service -o --help": false,
		"/opt/tool":                     true,
		"/opt/tool -u":                  false,
		"/usr/local/bin/tool --x=a:b":   true,
		"/usr/local/bin/tool --x=a:b c": false,
		"/usr/bin/sha256sum /etc/foo":   false,
	} {
		const tools = `mount -t tmpfs tmpfs /opt && mount -t tmpfs tmpfs /usr/local && mkdir /usr/local/bin &&
			install -m 755 /dev/null /opt/tool && install -m 755 /dev/null /usr/local/bin/tool && `
		script := tools + `mount --bind "$1" /etc/sudoers && shift && exec sudo -l -U "$@"`
		argv := append([]string{"-m", "sh", "-c", script, "sh", file, user}, strings.Fields(line)...)
		out, err := exec.CommandContext(t.Context(), "unshare", argv...).CombinedOutput()
		if (err == nil) != allowed {
			t.Errorf("%s: allowed is %t, want %t: %s", line, err == nil, allowed, out)
		}
	}
}

// Whatever is accepted must render as one rule on one line that names only the
// program that was asked for.
func FuzzParse(f *testing.F) {
	for _, text := range []string{"/usr/bin/systemctl restart openclaw*", "/opt/x a=b:c", "ALL", "/usr/bin/id\n", `/usr/bin/x \,`, "/usr/bin/a ^b$"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, problem := parse(text)
		if problem != nil {
			if problem.message == "" || problem.advice == "" {
				t.Errorf("%q is refused without a reason", text)
			}
			return
		}
		rule := c.rule()
		if strings.ContainsFunc(rule, func(r rune) bool { return r > unicode.MaxASCII || unicode.IsControl(r) }) ||
			strings.ContainsAny(strings.ReplaceAll(rule, rest, ""), ",#!?*[]") || strings.Contains(rule, " ALL") {
			t.Errorf("%q gives %q", text, rule)
		}
		if !strings.HasPrefix(rule, "/usr/") && !strings.HasPrefix(rule, "/opt/") || !strings.Contains(rule, " ") {
			t.Errorf("%q gives %q", text, rule)
		}
	})
}
