package ignition

import (
	"slices"
	"testing"

	"ingot/layers"
)

// server is a small plan with one entry of every kind.
func server(t *testing.T) layers.Plan {
	t.Helper()
	contributions := []layer{
		{name: "ssh", Contribution: layers.Contribution{
			Image: layers.Fragment{
				Files: []layers.File{{Path: "/etc/ssh/sshd_config.d/10-ingot.conf", Mode: 0o600, Contents: "# keys only\nPasswordAuthentication no\n"}},
				Units: []layers.Unit{
					{Name: "ssh.socket", Enabled: new(true), Dropins: []layers.Dropin{{Name: "10-ingot.conf", Contents: "[Socket]\nBindToDevice=wg0\n"}}},
					{Name: "sshd-keygen.service", Mask: true},
					{Name: "unwanted.service", Enabled: new(false)},
				},
			},
			Instance: layers.Fragment{
				Directories: []layers.Directory{{Path: "/etc/ssh/authorized_keys.d", Mode: 0o755}},
				Files:       []layers.File{{Path: "/etc/ssh/authorized_keys.d/clawadmin", Mode: 0o644, Contents: "ssh-ed25519 AAAA laptop\n"}},
			},
			Identity: []string{"/etc/ssh/authorized_keys.d/*"},
		}},
		{name: "admin", Contribution: layers.Contribution{
			Image: layers.Fragment{
				Groups: []layers.Group{{Name: "clawadmin", GID: 1000}, {Name: "app", GID: 950, System: true}},
				Users: []layers.User{
					{Name: "clawadmin", UID: 1000, Group: "clawadmin", Groups: []string{"app"}, Home: "/home/clawadmin", Shell: "/bin/bash", Gecos: "the administrator"},
					{Name: "app", UID: 950, Group: "app", System: true},
				},
				Files:       []layers.File{{Path: "/usr/share/app/greeting", Mode: 0o640, User: "clawadmin", Group: "app", Contents: "hello \"you\"\n\ttab: é\n"}},
				Directories: []layers.Directory{{Path: "/usr/share/app", Mode: 0o2750, User: "app", Group: "app"}},
				Links:       []layers.Link{{Path: "/etc/localtime", Target: "/usr/share/zoneinfo/UTC"}},
			},
		}},
		{name: "wireguard", Contribution: layers.Contribution{
			Image: layers.Fragment{
				Units: []layers.Unit{
					{Name: "ssh.socket", Dropins: []layers.Dropin{{Name: "05-wireguard.conf", Contents: "[Unit]\nAfter=sys-subsystem-net-devices-wg0.device\n"}}},
					{Name: "watch@wg0.service", Enabled: new(true)},
					{Name: "watch@.service", Contents: "[Service]\nExecStart=/bin/true\n\n[Install]\nWantedBy=multi-user.target\n"},
				},
				KernelArguments: []string{"panic=10", "console=tty0"},
			},
			Instance: layers.Fragment{Files: []layers.File{
				{Path: "/etc/ingot/secrets/private-key", Mode: 0o640, Group: "network", SecretSlot: "wireguard/private-key"},
			}},
			Identity: []string{"/etc/ingot/secrets/private-key"},
			Secrets:  []layers.SecretSlot{{Name: "wireguard/private-key", Path: "/etc/ingot/secrets/private-key", Why: "the server's key"}},
		}},
	}
	return merge(t, contributions...)
}

func merge(t *testing.T, contributions ...layer) layers.Plan {
	t.Helper()
	var list []layers.Layer
	for _, c := range contributions {
		list = append(list, c)
	}
	plan, conflicts := layers.Merge(layers.Site{Name: "openclaw", Hostname: "claw1.example"}, list)
	if len(conflicts) > 0 {
		t.Fatalf("the plan of the test is in conflict: %v", conflicts)
	}
	return plan
}

// backwards returns the plan with every list of its fragments reversed.
func backwards(plan layers.Plan) layers.Plan {
	for _, f := range []*layers.Fragment{&plan.Image, &plan.Instance} {
		f.Files, f.Directories, f.Links = reversed(f.Files), reversed(f.Directories), reversed(f.Links)
		f.Users, f.Groups, f.Units = reversed(f.Users), reversed(f.Groups), reversed(f.Units)
		for i := range f.Units {
			f.Units[i].Dropins = reversed(f.Units[i].Dropins)
		}
	}
	return plan
}

func reversed[T any](list []T) []T {
	list = slices.Clone(list)
	slices.Reverse(list)
	return list
}

type layer struct {
	name string
	layers.Contribution
}

func (l layer) Name() string                               { return l.name }
func (layer) Validate(layers.Site) []layers.Finding        { return nil }
func (l layer) Contribute(layers.Site) layers.Contribution { return l.Contribution }
func one(name string, image layers.Fragment) layer {
	return layer{name, layers.Contribution{Image: image}}
}
func key(layers.SecretSlot) ([]byte, error) { return []byte("c2VjcmV0\n"), nil }
