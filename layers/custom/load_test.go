package custom

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"

	"ingot/config/document"
	"ingot/layers"
)

// folder writes a layer's folder and loads it.
func folder(t *testing.T, files map[string]string) (Layer, []Input, []document.Finding) {
	t.Helper()
	return loadFolder(t, fill(t, files))
}

func fill(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func loadFolder(t *testing.T, dir string) (Layer, []Input, []document.Finding) {
	t.Helper()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	l, inputs, findings, err := Load("custom/app", root, "app")
	if err != nil {
		t.Fatal(err)
	}
	return l, inputs, findings
}

func TestLoad(t *testing.T) {
	t.Parallel()
	l, inputs, findings := folder(t, map[string]string{
		"files/etc/app.conf": "a = \xff\n",
		"files/app.service":  "[Service]\n",
		ConfigName: `variant: fcos
version: 1.6.0
passwd:
  users: [{name: app, uid: 900, primary_group: app, groups: [adm], home_dir: /var/lib/app, shell: /bin/false, gecos: the app, system: true}]
  groups: [{name: app, gid: 900, system: true}]
storage:
  directories: [{path: /etc/app.d, mode: 0750, group: {name: app}}]
  files:
    - {path: /etc/app.conf, mode: 0o640, user: {name: app}, contents: {local: etc/app.conf}}
    - {path: /etc/empty, contents: {inline: ""}}
  links: [{path: /etc/app, target: ../app.d}]
systemd:
  units:
    - {name: app.service, enabled: true, contents_local: app.service}
    - name: ssh.service
      dropins: [{name: 50-app.conf, contents: "[Unit]\n"}]
    - {name: noise.timer, mask: true, enabled: false}
kernel_arguments: {should_exist: [mitigations=auto, quiet]}
`})
	if len(findings) > 0 {
		t.Fatal(findings)
	}
	on, off := true, false
	want := layers.Fragment{
		Files: []layers.File{
			{Path: "/etc/app.conf", Mode: 0o640, User: "app", Contents: "a = \xff\n"},
			{Path: "/etc/empty", Mode: 0o644},
		},
		Directories: []layers.Directory{{Path: "/etc/app.d", Mode: 0o750, Group: "app"}},
		Links:       []layers.Link{{Path: "/etc/app", Target: "../app.d"}},
		Users: []layers.User{{
			Name: "app", UID: 900, Group: "app", Groups: []string{"adm"}, Home: "/var/lib/app",
			Shell: "/bin/false", Gecos: "the app", System: true,
		}},
		Groups: []layers.Group{{Name: "app", GID: 900, System: true}},
		Units: []layers.Unit{
			{Name: "app.service", Enabled: &on, Contents: "[Service]\n"},
			{Name: "ssh.service", Dropins: []layers.Dropin{{Name: "50-app.conf", Contents: "[Unit]\n"}}},
			{Name: "noise.timer", Enabled: &off, Mask: true},
		},
		KernelArguments: []string{"mitigations=auto", "quiet"},
	}
	if got := l.Contribute(layers.Site{}).Image; !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	var names []string
	for _, i := range inputs {
		names = append(names, i.Name)
	}
	if got := strings.Join(names, " "); got != "config.bu files/etc/app.conf files/app.service" {
		t.Errorf("inputs %s", got)
	}
}

// Content comes from files/ and from nowhere else.
func TestLocalStaysInside(t *testing.T) {
	t.Parallel()
	config := func(local string) string {
		return "storage: {files: [{path: /etc/x, contents: {local: \"" + local + "\"}}]}\n"
	}
	for name, c := range map[string]struct {
		local  string
		target string // of a link at files/link
		want   string
	}{
		"parent":        {"../config.bu", "", "leads out"},
		"deep parent":   {"a/../../config.bu", "", "leads out"},
		"absolute":      {"/etc/hostname", "", "leads out"},
		"itself":        {".", "", "leads out"},
		"link up":       {"link", "../config.bu", "cannot be read"},
		"absolute link": {"link", "/etc/hostname", "cannot be read"},
		"folder link":   {"link/hostname", "/etc", "cannot be read"},
		"dangling":      {"link", "nothing", "no file"},
		"folder":        {"sub", "", "not a regular file"},
		"pipe":          {"pipe", "", "not a regular file"},
		"link inside":   {"link", "sub/ok", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := fill(t, map[string]string{ConfigName: config(c.local), "files/sub/ok": "ok"})
			if c.target != "" {
				if err := os.Symlink(c.target, filepath.Join(dir, "files/link")); err != nil {
					t.Fatal(err)
				}
			}
			if err := syscall.Mkfifo(filepath.Join(dir, "files/pipe"), 0o600); err != nil {
				t.Fatal(err)
			}
			_, _, findings := loadFolder(t, dir)
			if c.want == "" && len(findings) == 0 {
				return
			}
			if len(findings) != 1 || !strings.Contains(findings[0].Message, c.want) || findings[0].Line != 1 || findings[0].Column < 40 {
				t.Errorf("findings %v, want %q", findings, c.want)
			}
		})
	}
}

func TestMode(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int{
		"0644": 0o644, "0o755": 0o755, "01777": 0o1777, "644": 0, "0": 0, "": 0, "0888": 0, "0x1ff": 0, "-0644": 0, "010000": 0, "rw": 0,
	} {
		var m mode
		err := m.UnmarshalText([]byte(text))
		if int(m) != want || (err == nil) != (want != 0) {
			t.Errorf("%q is %o, %v; want %o", text, m, err, want)
		}
	}
}
