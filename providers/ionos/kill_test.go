package ionos

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"testing"
	"time"

	"ingot/providers"
	"ingot/providers/fake"
)

const foreignID = "zzzzzzzzzzzzzzzzzzzz"

// foreign puts things of others into the cloud: a data center under a name, with a
// server, a disk and a network, and an image and an address beside it. Some are called
// like those of Ingot's, with another entry's number.
func (c *cloud) foreign(name string) {
	machineName := "claw-1" + mark(foreignID)
	d := &center{Object: resource("dc-foreign", "datacenter", "AVAILABLE", object{"name": name, "location": "de/fra", "description": "not made by Ingot"})}
	d.LANs = []object{resource("900", "lan", "AVAILABLE", object{"name": machineName, "public": true})}
	d.Volumes = []object{resource("volume-foreign", "volume", "AVAILABLE", object{"name": machineName, "size": 10})}
	m := &machine{Object: resource("server-foreign", "server", "AVAILABLE", object{"name": machineName, "cores": 1, "ram": 1024, "vmState": "RUNNING"}), Volumes: []string{"volume-foreign"}}
	m.Cards = []*networkCard{{Object: resource("nic-foreign", "nic", "AVAILABLE", object{"name": "ingot", "lan": 900, "firewallActive": true, "ips": []string{"198.51.100.251"}})}}
	d.Servers = []*machine{m}
	c.state.Centers = append(c.state.Centers, d)
	c.state.Images = append(c.state.Images,
		resource("image-foreign", "image", "AVAILABLE", object{"name": providers.LabelDigest(testSum) + mark(foreignID) + ".raw", "size": 1, "imageType": "HDD", "location": "de/fra", "public": false, "licenceType": "LINUX"}),
		resource("image-public", "image", "AVAILABLE", object{"name": "debian", "size": 1, "imageType": "HDD", "location": "de/fra", "public": true, "licenceType": "LINUX"}))
	c.state.Blocks = append(c.state.Blocks, resource("block-foreign", "ipblock", "AVAILABLE", object{"name": machineName, "location": "de/fra", "size": 1, "ips": []string{"203.0.113.251"}}))
	c.state.Labels = append(c.state.Labels, object{"id": "l", "type": "label", "properties": object{"key": providers.LabelID, "value": foreignID, "resourceId": "server-foreign", "resourceType": "server"}})
}

// others are all things of others, as text.
func (c *cloud) others(t *testing.T) string {
	t.Helper()
	data, err := json.Marshal([]any{
		c.state.Centers[0], byID(c.state.Images, "image-foreign"), byID(c.state.Images, "image-public"), byID(c.state.Blocks, "block-foreign"), c.state.Labels[0],
	})
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// kill is a moment at which a process ends.
type kill struct {
	request int  // which request of the API, from 0; -1 is none
	refused bool // and the request is lost
	dial    int  // which connection to the server for images, from 1; 0 is none
}

func (k kill) String() string {
	switch {
	case k.dial > 0:
		return fmt.Sprintf("at connection %d for files", k.dial)
	case k.refused:
		return fmt.Sprintf("before request %d", k.request)
	}
	return fmt.Sprintf("during request %d", k.request)
}

// Whenever a process ends, what it has made is in the journal and can be found and
// deleted, and what others have made stays.
func TestKilledAtAnyMoment(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it takes more than 10 s; run without -short")
	}
	r := newRig(t)
	for _, c := range []struct {
		place string // the name of a data center of others
		first kill
		step  int
		least int // moments
	}{
		{"theirs", kill{request: 0}, 1, 40},
		{"theirs", kill{request: 0, refused: true}, 5, 8},
		{"theirs", kill{request: -1, dial: 1}, 1, 4},
		{DefaultDatacenter, kill{request: 0}, 3, 12},
	} {
		kills, k := 0, c.first
		for ; !r.killed(t, c.place, k); kills++ {
			if k.dial > 0 {
				k.dial += c.step
			} else {
				k.request += c.step
			}
		}
		if kills < c.least {
			t.Errorf("there were only %d moments", kills)
		}
		t.Logf("with a data center of others called %q: ended at %d moments, the last %v", c.place, kills, k)
	}
}

// killed uploads and deploys, is ended at a moment, and cleans up. It returns true when
// the work was whole before that.
func (r *rig) killed(t *testing.T, place string, k kill) (whole bool) {
	t.Helper()
	r.fresh(t)
	r.cloud.polls = 1
	r.cloud.foreign(place)
	before := r.cloud.others(t)
	e, err := r.journal.Begin(r.Name(), r.Account(), k.String())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	p := r.keeping()
	if k.request >= 0 {
		r.api.Plan(fake.Fault{Skip: k.request, Hook: cancel, Refused: k.refused})
	}
	dials := 0
	p.reach = func(ctx context.Context, network, address string) (net.Conn, error) {
		if dials++; dials == k.dial {
			cancel()
		}
		return new(net.Dialer).DialContext(ctx, network, address)
	}
	image, err := p.Upload(ctx, testUpload(e))
	if err == nil {
		_, err = p.Deploy(ctx, testMachine(e, image))
	}
	if whole = ctx.Err() == nil; whole && err != nil {
		t.Fatalf("%v: %v", k, err)
	}
	e.Abandon()
	if !whole && k.request >= 0 && !k.refused {
		r.handled(t, k.request)
	}
	r.api.Calm()
	r.cloud.settle(k.dial == 0)

	// Another process finds the entry, and what was made under it.
	_, left, err := r.journal.Entries()
	if err != nil {
		t.Fatal(err)
	}
	at := slices.IndexFunc(left, func(other *providers.Entry) bool { return other.ID == e.ID })
	if at < 0 {
		t.Fatalf("%v: the journal does not have the entry", k)
	}
	found, err := r.Find(t.Context(), e.ID)
	if err != nil {
		t.Fatalf("%v: %v", k, err)
	}
	for _, f := range found {
		kind := f.Kind
		if kind == kindUpload {
			kind = kindImage
		}
		if !slices.ContainsFunc(left[at].Created, func(c providers.Resource) bool { return c.Kind == kind }) {
			t.Errorf("%v: a %s was made that is not in the journal", k, f.Kind)
		}
	}
	// What nothing is found of may appear yet: such an entry is kept for a while.
	if _, err := left[at].Collect(t.Context(), r.Provider); err != nil && len(found) > 0 {
		t.Fatalf("%v: %v", k, err)
	}
	r.cloud.settle(true)
	r.empty(t, e.ID)
	if after := r.cloud.others(t); after != before {
		t.Errorf("%v: things of others have changed:\n%s\n%s", k, before, after)
	}
	if t.Failed() {
		t.Fatalf("ended %v", k)
	}
	return whole
}

// handled waits until a request has had its effect, which nobody waits for.
func (r *rig) handled(t *testing.T, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for r.api.Requests()[n].Status == 0 {
		if rest(ctx, time.Millisecond) != nil {
			t.Fatalf("request %d is not handled", n)
		}
	}
}

// A lost answer, lists of before, a busy data center and a limit do not make things
// twice.
func TestDeployInBadWeather(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	server, center := "POST /datacenters/*/servers", "POST /datacenters"
	for _, c := range []struct {
		name   string
		faults []fake.Fault
	}{
		{"the server's answer is lost", []fake.Fault{{On: server, Lost: true}}},
		{"the server's request is lost", []fake.Fault{{On: server, Refused: true}}},
		{"the server's answer is lost, and lists are of before", []fake.Fault{{On: server, Lost: true}, {On: "GET /datacenters/*/servers", After: server, Times: 4, Stale: true}}},
		{"the data center's answer is lost, and lists are of before", []fake.Fault{{On: center, Lost: true}, {On: "GET /datacenters", After: center, Times: 4, Stale: true}}},
		{"the network's answer is lost", []fake.Fault{{On: "POST /datacenters/*/lans", Lost: true}}},
		{"the address' answer is lost", []fake.Fault{{On: "POST /ipblocks", Lost: true}}},
		{"the image's answer is lost", []fake.Fault{{On: "PATCH /images/*", Lost: true}}},
		{"the answer for the state's image is lost", []fake.Fault{{On: "PATCH /images/*", Skip: 1, Lost: true}}},
		{"a volume's label is lost", []fake.Fault{{On: "POST /datacenters/*/volumes/*/labels", Skip: 5, Times: 3, Lost: true}}},
		{"the volumes are of before", []fake.Fault{{On: "GET /datacenters/*/servers/*/volumes", After: server, Times: 3, Status: 200, Body: object{"id": "x", "items": []object{}}}}},
		{"a label's answer is lost", []fake.Fault{{On: "POST /datacenters/*/servers/*/labels", Times: 2, Lost: true}}},
		{"a label's request is lost", []fake.Fault{{On: "POST /datacenters/*/servers/*/labels", Refused: true}}},
		{"the server is not known yet", []fake.Fault{{On: "GET /datacenters/*/servers/*", Times: 3, Status: 404, Body: object{"httpStatus": 404, "messages": []object{}}}}},
		{"CD-ROMs are refused", []fake.Fault{{On: server, Status: 422, Body: object{"httpStatus": 422, "messages": []object{{"errorCode": "100", "message": "[cdroms] is not allowed"}}}}}},
		{"503 now and then", []fake.Fault{{On: "GET *", Skip: 3, Times: 2, Status: 503, Body: object{"httpStatus": 503, "messages": []object{}}}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r.fresh(t)
			r.cloud.foreign("theirs")
			r.api.Plan(c.faults...)
			e := r.begin(t)
			p := r.keeping()
			image, err := p.Upload(t.Context(), testUpload(e))
			if err != nil {
				t.Fatal(err)
			}
			server, err := p.Deploy(t.Context(), testMachine(e, image))
			if err != nil {
				t.Fatal(err)
			}
			r.cloud.settle(true)
			d := r.cloud.state.Centers
			if len(d) != 2 || len(d[1].Servers) != 1 || len(d[1].LANs) != 1 || len(d[1].Volumes) != 2 || len(r.cloud.state.Blocks) != 2 {
				t.Fatalf("there are %d data centers, %d servers, %d networks, %d disks, %d addresses", len(d), len(d[1].Servers), len(d[1].LANs), len(d[1].Volumes), len(r.cloud.state.Blocks))
			}
			last := r.cloud.boots[len(r.cloud.boots)-1]
			if !last.active || last.rules != len(testRules) || !last.disc || last.from != "disk" || last.state != idOf(d[1].Volumes[1]) {
				t.Errorf("it was switched on as %v", last)
			}
			labels, err := p.labels(t.Context())
			_, id, _ := split(server.ID)
			if want := server.Labels; err != nil || fmt.Sprint(labels[id]) != fmt.Sprint(want) || fmt.Sprint(labels[idOf(d[1].Volumes[0])]) != fmt.Sprint(want) {
				t.Errorf("the labels are %v, not %v; %v", labels, want, err)
			}
			state := labels[idOf(d[1].Volumes[1])]
			if len(state) != 4 || state[providers.LabelID] != e.ID || state[labelBorn] != e.ID || state[providers.LabelServer] != "claw-1" || len(state[labelState]) != 40 {
				t.Errorf("the labels of the state are %v", state)
			}
			if n := len(r.ftp.files(t, diskFolder)); n != 2 {
				t.Errorf("%d files were sent, not 2", n)
			}
		})
	}
}
