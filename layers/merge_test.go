package layers

import (
	"slices"
	"testing"
)

// fake is a layer that contributes what it is given.
type fake struct {
	name string
	c    Contribution
}

func (f fake) Name() string                 { return f.name }
func (f fake) Validate(Site) []Finding      { return nil }
func (f fake) Contribute(Site) Contribution { return f.c }

// last derives a file from everybody's ports.
type last struct{ fake }

func (l last) Finish(p Plan) Contribution {
	return Contribution{Image: Fragment{Files: []File{{Path: "/ports", Mode: len(p.Ports)}}}}
}

func TestMergeConflicts(t *testing.T) {
	on := true
	image := func(f Fragment) Contribution { return Contribution{Image: f} }
	for name, test := range map[string]struct {
		a, b Contribution
		want string // empty: none
	}{
		"same file":     {image(Fragment{Files: []File{{Path: "/x"}}}), image(Fragment{Files: []File{{Path: "/x"}}}), "layers a and b both claim file /x"},
		"unclean path":  {image(Fragment{Files: []File{{Path: "/x"}}}), image(Fragment{Files: []File{{Path: "/y/../x"}}}), "layers a and b both claim file /x"},
		"file and link": {image(Fragment{Files: []File{{Path: "/x"}}}), image(Fragment{Links: []Link{{Path: "/x"}}}), "layers a and b both claim file /x"},
		"image and instance": {
			image(Fragment{Files: []File{{Path: "/x"}}}), Contribution{Instance: Fragment{Files: []File{{Path: "/x"}}}}, "layers a and b both claim file /x",
		},
		"same port": {
			Contribution{Ports: []Port{{Proto: "tcp", Port: 443, From: FromInternet}}},
			Contribution{Ports: []Port{{Proto: "tcp", Port: 443, From: FromInternet}}},
			"layers a and b both claim port tcp/443 from internet",
		},
		"same port, other protocol": {
			Contribution{Ports: []Port{{Proto: "tcp", Port: 443, From: FromInternet}}},
			Contribution{Ports: []Port{{Proto: "udp", Port: 443, From: FromInternet}}}, "",
		},
		"same user":        {image(Fragment{Users: []User{{Name: "u"}}}), image(Fragment{Users: []User{{Name: "u"}}}), "layers a and b both claim user u"},
		"same unit":        {image(Fragment{Units: []Unit{{Name: "u", Contents: "1"}}}), image(Fragment{Units: []Unit{{Name: "u", Enabled: &on}}}), "layers a and b both claim unit u"},
		"two drop-ins":     {image(Fragment{Units: []Unit{{Name: "u", Dropins: []Dropin{{Name: "1"}}}}}), image(Fragment{Units: []Unit{{Name: "u", Dropins: []Dropin{{Name: "2"}}}}}), ""},
		"same drop-in":     {image(Fragment{Units: []Unit{{Name: "u", Dropins: []Dropin{{Name: "1"}}}}}), image(Fragment{Units: []Unit{{Name: "u", Dropins: []Dropin{{Name: "1"}}}}}), "layers a and b both claim drop-in u.d/1"},
		"same slot":        {Contribution{Secrets: []SecretSlot{{Name: "s"}}}, Contribution{Secrets: []SecretSlot{{Name: "s"}}}, "layers a and b both claim secret slot s"},
		"same state":       {Contribution{State: []State{{Path: "/var/s"}}}, Contribution{State: []State{{Path: "/var/s/"}}}, "layers a and b both claim state /var/s"},
		"same check":       {Contribution{Checks: []Check{{ID: "c"}}}, Contribution{Checks: []Check{{ID: "c"}}}, "layers a and b both claim check c"},
		"kernel argument":  {image(Fragment{KernelArguments: []string{"panic=1"}}), image(Fragment{KernelArguments: []string{"panic=2"}}), "layers a and b both claim kernel argument panic"},
		"two consoles":     {image(Fragment{KernelArguments: []string{"console=a"}}), image(Fragment{KernelArguments: []string{"console=b"}}), ""},
		"the same package": {Contribution{Packages: []string{"p"}}, Contribution{Packages: []string{"p"}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, conflicts := Merge(Site{}, []Layer{fake{"a", test.a}, fake{"b", test.b}})
			var got string
			if len(conflicts) > 0 {
				got = conflicts[0].Error()
			}
			if got != test.want || len(conflicts) > 1 {
				t.Errorf("got %v, want %q", conflicts, test.want)
			}
		})
	}
}

func TestMergeJoins(t *testing.T) {
	on := true
	a := fake{"a", Contribution{
		Packages: []string{"z", "p"},
		Image:    Fragment{Units: []Unit{{Name: "u", Dropins: []Dropin{{Name: "1"}}}}},
		Ports:    []Port{{Proto: "tcp", Port: 22, From: FromWireGuard}},
	}}
	b := fake{"b", Contribution{
		Packages: []string{"p"},
		Image:    Fragment{Units: []Unit{{Name: "u", Enabled: &on, Dropins: []Dropin{{Name: "2"}}}}},
		Ports:    []Port{{Proto: "tcp", Port: 443, From: FromInternet}},
	}}
	// The finisher stands first and still sees what comes after it.
	p, conflicts := Merge(Site{Name: "s"}, []Layer{last{fake{name: "fin"}}, a, b})
	if len(conflicts) > 0 {
		t.Fatal(conflicts)
	}
	if !slices.Equal(p.Packages, []string{"p", "z"}) {
		t.Errorf("packages %v", p.Packages)
	}
	if len(p.Image.Units) != 1 || len(p.Image.Units[0].Dropins) != 2 || p.Image.Units[0].Enabled == nil {
		t.Errorf("units %+v", p.Image.Units)
	}
	if p.Ports[0].Layer != "b" || p.Ports[1].Layer != "a" {
		t.Errorf("ports %+v, want those from the internet first and each with its layer", p.Ports)
	}
	if len(p.Image.Files) != 1 || p.Image.Files[0].Mode != 2 {
		t.Errorf("the finisher saw %+v", p.Image.Files)
	}
	if p.Owner["file /ports"] != "fin" || p.Owner["unit u"] != "b" {
		t.Errorf("owners %v", p.Owner)
	}
}
