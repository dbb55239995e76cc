package hetzner

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"ingot/fault"
	"ingot/providers"
	"ingot/providers/fake"
)

// With a real sshd, whose host key is the one of the user-data.
func TestUpload(t *testing.T) {
	t.Parallel()
	needRoot(t)
	b, data := newBench(t), disk(t)
	b.cloud.lab.mock = false
	e := b.begin(t)
	u := upload(data, e)
	image, err := b.Upload(t.Context(), u)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Done(); err != nil {
		t.Fatal(err)
	}
	if got := b.made(); got != "snapshot openclaw" {
		t.Errorf("there is %s", got)
	}
	snapshot := b.cloud.snapshot(t, image.ID)
	if snapshot["_sha256"] != u.SHA256 {
		t.Error("the snapshot has other bytes")
	}
	// The smallest disk that is still sold, so that the snapshot fits everywhere.
	if n(snapshot["disk_size"]) != 20 {
		t.Errorf("the snapshot needs a disk of %v GB", snapshot["disk_size"])
	}
	want := map[string]string{providers.LabelID: e.ID, providers.LabelImage: u.SHA256[:40], providers.LabelConfig: "c0ffee", providers.LabelVerdict: "f00d"}
	if fmt.Sprint(image.Labels) != fmt.Sprint(want) {
		t.Errorf("the labels are %v", image.Labels)
	}
	var kinds []string
	for _, r := range e.Created {
		kinds = append(kinds, r.Kind)
	}
	if got := strings.Join(kinds, ", "); got != "firewall, ssh key, server, snapshot" {
		t.Errorf("the journal has %s", got)
	}
	if images, err := b.Images(t.Context()); err != nil || len(images) != 1 || images[0].ID != image.ID {
		t.Errorf("the images are %v, %v", images, err)
	}
}

// Something else at the server's address gets nothing.
func TestUploadToAStranger(t *testing.T) {
	t.Parallel()
	for name, mock := range map[string]bool{"sshd": false, "mock": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			needRoot(t)
			b := newBench(t)
			b.cloud.lab.mock, b.cloud.lab.otherHost = mock, true
			written := false
			b.opts.Writer = func(context.Context, *ssh.Client, providers.Upload) error { written = true; return nil }
			_, err := b.Upload(t.Context(), upload(disk(t), b.begin(t)))
			wantError(t, err, fault.OfProvider, "another SSH host key")
			if written {
				t.Error("the image was written")
			}
			if got := b.made(); got != "" {
				t.Errorf("there is %s", got)
			}
		})
	}
}

func TestUploadTwice(t *testing.T) {
	t.Parallel()
	b, data := newBench(t), disk(t)
	first, err := b.Upload(t.Context(), upload(data, b.begin(t)))
	if err != nil {
		t.Fatal(err)
	}
	b.api.Forget()
	e := b.begin(t)
	u := upload(data, e)
	u.Labels = map[string]string{providers.LabelVerdict: "newer"}
	b.api.Plan(fake.Fault{On: "PUT /images/*", Times: 2, Status: 423, Body: refusal("locked")})
	second, err := b.Upload(t.Context(), u)
	if err != nil {
		t.Fatal(err)
	}
	if second.ID != first.ID || second.Labels[providers.LabelVerdict] != "newer" || second.Labels[providers.LabelID] != e.ID {
		t.Errorf("the first is %v, the second %v", first, second)
	}
	if n := b.api.Count("POST *"); n != 0 {
		t.Errorf("%d things were made", n)
	}
	// Other bytes are another image.
	third, err := b.Upload(t.Context(), upload(disk(t), b.begin(t)))
	if err != nil || third.ID == first.ID {
		t.Errorf("the third is %v, %v", third, err)
	}
}

func TestUploadRefusals(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change func(*bench, *providers.Upload)
		kind   fault.Kind
		words  string
	}{
		"no writer":      {func(b *bench, _ *providers.Upload) { b.opts.Writer = nil }, fault.Unknown, "nothing was given that writes"},
		"a label":        {func(_ *bench, u *providers.Upload) { u.Labels = map[string]string{"why": "no time, sorry"} }, fault.OfInput, "the label why"},
		"a long label":   {func(_ *bench, u *providers.Upload) { u.Labels = map[string]string{"why": strings.Repeat("x", 64)} }, fault.OfInput, "the label why"},
		"too large":      {func(_ *bench, u *providers.Upload) { u.Bytes = 100e9 }, fault.OfInput, "no server type in fsn1 has a disk of 100 GB"},
		"other location": {func(b *bench, _ *providers.Upload) { b.opts.Location = "moon" }, fault.OfInput, "no server type in moon"},
		"writer fails": {func(b *bench, _ *providers.Upload) {
			b.opts.Writer = func(context.Context, *ssh.Client, providers.Upload) error { return errors.New("the disk is full") }
		}, fault.OfProvider, "the disk is full"},
		"writer's own mark": {func(b *bench, _ *providers.Upload) {
			b.opts.Writer = func(context.Context, *ssh.Client, providers.Upload) error {
				return fault.Machine(errors.New("the image is gone"))
			}
		}, fault.OfMachine, "the image is gone"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			u := upload(disk(t), b.begin(t))
			test.change(b, &u)
			_, err := b.Upload(t.Context(), u)
			wantError(t, err, test.kind, test.words)
			if got := b.made(); got != "" {
				t.Errorf("there is %s", got)
			}
		})
	}
}

// bad are moments that an upload and a deploy survive, at requests that make or change
// something.
func bad(at ...string) map[string][]fake.Fault {
	conflict, locked, broken := refusal("conflict"), refusal("locked"), refusal("server_error")
	all := map[string][]fake.Fault{
		"too many requests":  {{On: "POST /servers", Times: 2, Status: 429, Body: refusal("rate_limit_exceeded"), Header: map[string]string{"Retry-After": "0"}}},
		"a proxy's page":     {{On: "GET /actions/*", Status: 502, Body: "<h1>bad gateway</h1>", Proxy: true}},
		"maintenance, asked": {{On: "POST /firewalls", Status: 503, Body: refusal("maintenance"), Header: map[string]string{"Retry-After": "0"}}},
	}
	for _, on := range at {
		all["conflict at "+on] = []fake.Fault{{On: on, Times: 3, Status: 409, Body: conflict}}
		all["locked at "+on] = []fake.Fault{{On: on, Times: 3, Status: 423, Body: locked}}
		all["broken at "+on] = []fake.Fault{{On: on, Status: 500, Body: broken}}
		all["lost at "+on] = []fake.Fault{{On: on, Lost: true}}
		all["refused at "+on] = []fake.Fault{{On: on, Refused: true}}
		all["lost, and looks late, at "+on] = []fake.Fault{{On: on, Lost: true}, {On: "GET *", After: on, Times: 5, Stale: true}}
		all["lost, and looks too late, at "+on] = []fake.Fault{{On: on, Lost: true}, {On: "GET *", After: on, Times: looks + 1, Stale: true}}
		all["late after "+on] = []fake.Fault{{On: "GET *", After: on, Times: 4, Stale: true}}
	}
	for _, on := range []string{"DELETE /servers/*", "DELETE /firewalls/*", "DELETE /ssh_keys/*"} {
		all["lost at "+on] = []fake.Fault{{On: on, Lost: true}}
		all["late after "+on] = []fake.Fault{{On: "GET *", After: on, Times: 4, Stale: true}}
		all["locked at "+on] = []fake.Fault{{On: on, Times: 3, Status: 423, Body: locked}}
	}
	return all
}

func TestUploadInBadWeather(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes ten seconds; run without -short")
	}
	t.Parallel()
	b := newBench(t)
	for name, faults := range bad("POST /firewalls", "POST /ssh_keys", "POST /servers", "POST /servers/*/actions/poweron", "POST /servers/*/actions/create_image") {
		t.Run(name, func(t *testing.T) {
			data, e := disk(t), b.begin(t)
			b.api.Calm()
			b.api.Plan(faults...)
			u := upload(data, e)
			image, err := b.Upload(t.Context(), u)
			if err != nil {
				t.Fatal(err)
			}
			b.api.Calm()
			if got := b.made(); got != "snapshot openclaw" {
				t.Errorf("there is %s", got)
			}
			if b.cloud.snapshot(t, image.ID)["_sha256"] != u.SHA256 {
				t.Error("the snapshot has other bytes")
			}
			// What is found by the journal's number is the whole of it.
			if removed, err := e.Collect(t.Context(), b); err != nil || len(removed) != 1 || b.made() != "" {
				t.Errorf("removed %v, %v; there is %s", removed, err, b.made())
			}
		})
	}
}
