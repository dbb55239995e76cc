package ignition

import (
	"errors"
	"strings"
	"testing"

	"github.com/coreos/ignition/v2/config/v3_6"
	"github.com/vincent-petithory/dataurl"

	"ingot/layers"
)

func TestInstanceHoldsIdentityOnly(t *testing.T) {
	t.Parallel()
	allowed := []string{"/etc/app/*.conf", "/etc/app/keys/*", "/usr/app/*", "/etc/["}
	for name, tc := range map[string]struct {
		instance layers.Fragment
		refused  string // what, empty when it is fine
	}{
		"a named file":             {layers.Fragment{Files: []layers.File{{Path: "/etc/app/x.conf", Mode: 0o644}}}, ""},
		"directories above them":   {layers.Fragment{Directories: []layers.Directory{{Path: "/etc/app", Mode: 0o755}, {Path: "/etc/app/keys", Mode: 0o755}}}, ""},
		"another file":             {layers.Fragment{Files: []layers.File{{Path: "/etc/app/x.service", Mode: 0o644}}}, "file /etc/app/x.service"},
		"a file too deep":          {layers.Fragment{Files: []layers.File{{Path: "/etc/app/keys/a/b", Mode: 0o644}}}, "file /etc/app/keys/a/b"},
		"a file by way of ..":      {layers.Fragment{Files: []layers.File{{Path: "/etc/app/keys/..", Mode: 0o644}}}, "file /etc/app"},
		"a file outside /etc":      {layers.Fragment{Files: []layers.File{{Path: "/usr/app/x", Mode: 0o644}}}, "file /usr/app/x"},
		"a broken pattern":         {layers.Fragment{Files: []layers.File{{Path: "/etc/[", Mode: 0o644}}}, "file /etc/["},
		"a directory of its own":   {layers.Fragment{Directories: []layers.Directory{{Path: "/etc/app/keys/d", Mode: 0o755}}}, "directory /etc/app/keys/d"},
		"a foreign directory":      {layers.Fragment{Directories: []layers.Directory{{Path: "/etc/systemd", Mode: 0o755}}}, "directory /etc/systemd"},
		"a link with a named path": {layers.Fragment{Links: []layers.Link{{Path: "/etc/app/x.conf", Target: "/etc/shadow"}}}, "file /etc/app/x.conf"},
		"a user":                   {layers.Fragment{Users: []layers.User{{Name: "eve"}}}, "user eve"},
		"a group":                  {layers.Fragment{Groups: []layers.Group{{Name: "eve"}}}, "group eve"},
		"a unit":                   {layers.Fragment{Units: []layers.Unit{{Name: "eve.service", Contents: "[Unit]\n"}}}, "unit eve.service"},
		"a drop-in":                {layers.Fragment{Units: []layers.Unit{{Name: "ssh.service", Dropins: []layers.Dropin{{Name: "eve.conf"}}}}}, "unit ssh.service"},
		"a kernel argument":        {layers.Fragment{KernelArguments: []string{"init=/bin/sh"}}, "kernel argument init"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			plan := merge(t, layer{"eve", layers.Contribution{Instance: tc.instance, Identity: allowed}})
			_, err := Instance(plan, key)
			var found Findings
			switch {
			case tc.refused == "" && err != nil:
				t.Errorf("refused: %v", err)
			case tc.refused == "":
			case !errors.As(err, &found):
				t.Errorf("not refused, error %v", err)
			case found[0].What != tc.refused || found[0].Layer != "eve":
				t.Errorf("refused %q of layer %q, want %q of eve", found[0].What, found[0].Layer, tc.refused)
			}
		})
	}
}

func TestHostname(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		site layers.Site
		want string
	}{
		{layers.Site{Name: "image", Hostname: "claw1.example"}, "claw1.example\n"},
		{layers.Site{Name: "image"}, "image\n"},
	} {
		if got := files(t, layers.Plan{Site: tc.site})["/etc/hostname"]; got != tc.want {
			t.Errorf("hostname %q for %+v, want %q", got, tc.site, tc.want)
		}
	}
}

func TestALayerCannotWriteTheHostname(t *testing.T) {
	t.Parallel()
	plan := merge(t, layer{"eve", layers.Contribution{
		Instance: layers.Fragment{Files: []layers.File{{Path: "/etc/hostname", Mode: 0o644, Contents: "eve\n"}}},
		Identity: []string{"/etc/hostname"},
	}})
	if _, err := Instance(plan, key); err == nil || !strings.Contains(err.Error(), "layer eve: file /etc/hostname: duplicate") {
		t.Errorf("error %v", err)
	}
}

func TestSecretsFillTheirSlots(t *testing.T) {
	t.Parallel()
	plan := server(t)
	if got := files(t, plan)["/etc/ingot/secrets/private-key"]; got != "c2VjcmV0\n" {
		t.Errorf("the slot holds %q", got)
	}
	plan.Secrets = nil
	want := "layer wireguard: file /etc/ingot/secrets/private-key: it holds the secret wireguard/private-key, which no layer declares; declare the slot"
	if _, err := Instance(plan, key); err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}

// files returns the decoded files of a plan's instance config.
func files(t *testing.T, plan layers.Plan) map[string]string {
	t.Helper()
	c, err := Instance(plan, key)
	if err != nil {
		t.Fatal(err)
	}
	config, _, err := v3_6.Parse(c.JSON)
	if err != nil {
		t.Fatal(err)
	}
	list := map[string]string{}
	for _, f := range config.Storage.Files {
		url, err := dataurl.DecodeString(*f.Contents.Source)
		if err != nil {
			t.Fatal(err)
		}
		list[f.Path] = string(url.Data)
	}
	return list
}
