package hetzner

import (
	"encoding/json"
	"os"
	"os/exec"
	"testing"

	"ingot/providers"
)

// Debian's hcloud-cli, which was not written here, sees what Ingot has made.
func TestForeignClient(t *testing.T) {
	t.Parallel()
	program, err := exec.LookPath("hcloud")
	if err != nil {
		t.Skip("there is no hcloud; apt-get install hcloud-cli")
	}
	b := withState(t)
	image, err := b.Upload(t.Context(), upload(disk(t), b.begin(t)))
	if err != nil {
		t.Fatal(err)
	}
	server, err := b.Deploy(t.Context(), machine(image, b.begin(t)))
	if err != nil {
		t.Fatal(err)
	}
	ask := func(what string, into any, more ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), program, append([]string{what, "list", "--output", "json"}, more...)...)
		cmd.Env = append(os.Environ(), "HCLOUD_ENDPOINT="+b.api.URL, "HCLOUD_TOKEN="+planted, "HOME="+t.TempDir())
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("hcloud %s list: %v\n%s", what, err, out)
		}
		if err := json.Unmarshal(out, into); err != nil {
			t.Fatalf("hcloud %s list: %v\n%s", what, err, out)
		}
	}
	var servers []struct {
		Name, Status string
		Image        struct{ ID json.Number }
		PublicNet    struct {
			IPv4 struct{ IP string }
		} `json:"public_net"`
	}
	ask("server", &servers, "--selector", providers.LabelServer)
	if len(servers) != 1 || servers[0].Name != server.Name || servers[0].Status != "running" || servers[0].Image.ID.String() != image.ID ||
		servers[0].PublicNet.IPv4.IP != server.Addresses[0].String() {
		t.Errorf("the servers are %+v", servers)
	}
	var images []struct {
		Description string
		Labels      map[string]string
	}
	ask("image", &images, "--selector", providers.LabelImage)
	if len(images) != 1 || images[0].Description != image.Name || images[0].Labels[providers.LabelVerdict] != "f00d" {
		t.Errorf("the images are %+v", images)
	}
	var volumes []struct {
		Size   int
		Server json.Number
		Format *string
		Labels map[string]string
	}
	ask("volume", &volumes, "--selector", providers.LabelServer+"="+server.Name)
	if len(volumes) != 1 || volumes[0].Size != 10 || volumes[0].Server.String() != server.ID || volumes[0].Labels[labelState] != server.Labels[providers.LabelID] {
		t.Errorf("the volumes are %+v", volumes)
	}
	var walls []struct {
		Name  string
		Rules []struct {
			Port, Description string
			SourceIPs         []string `json:"source_ips"`
		}
		AppliedTo []struct{ Server struct{ ID json.Number } } `json:"applied_to"`
	}
	ask("firewall", &walls, "--selector", providers.LabelServer)
	if len(walls) != 1 || len(walls[0].Rules) != 2 || walls[0].Rules[0].Port != "443" || walls[0].Rules[0].Description != "the web [ingot]" || len(walls[0].Rules[0].SourceIPs) != 2 ||
		len(walls[0].AppliedTo) != 1 || walls[0].AppliedTo[0].Server.ID.String() != server.ID {
		t.Errorf("the firewalls are %+v", walls)
	}
}
