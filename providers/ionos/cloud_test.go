package ionos

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"ingot/providers/fake"
)

// cloud is IONOS as far as this package asks it. Writes are accepted at once and
// carried out later; until then a data center is busy and takes no other. Time passes
// with each request.
type cloud struct {
	t     *testing.T
	ftp   *ftpd // whose files become images
	polls int   // how many requests of any kind pass until one is carried out
	// fail is the message with which the request of a write fails, by "POST servers".
	fail map[string]string
	// forgetsDiscs has servers made without the CD-ROM that they were asked for with.
	forgetsDiscs bool
	// forgetsRules has cards made without the rules that they were asked for with.
	forgetsRules bool
	// forgetsState has servers made without more than one disk.
	forgetsState bool
	// mistakesBoot has servers start from what is attached to them.
	mistakesBoot bool
	watch        func() // is called when something has changed

	state   state
	waiting map[string]*waiting
	boots   []boot
	// authorization and contract are those of the last request.
	authorization string
	contract      []string
	busy          int // how often something was refused because of another request
}

// waiting is a request that is not done.
type waiting struct {
	dc    string
	left  int
	fails string
	do    func()
}

// boot is what a server was like when it was switched on.
type boot struct {
	server string
	active bool // the firewall
	rules  int
	disc   bool // was there
	from   string
	state  string // the volumes for it
}

// state is all that can be read, as JSON.
type state struct {
	Next     int
	Centers  []*center
	Images   []object
	Blocks   []object
	Labels   []object
	Requests map[string]string // state by id
	Failures map[string]string // why
	Pending  map[string]int    // files that will be images, by name: in how many lists
}

type center struct {
	Object  object
	Servers []*machine
	Volumes []object
	LANs    []object
}

type machine struct {
	Object  object
	Volumes []string
	Discs   []string
	Cards   []*networkCard
}

type networkCard struct {
	Object object
	Rules  []object
}

func newCloud(t *testing.T, f *ftpd) *cloud {
	return &cloud{t: t, ftp: f, polls: 2, fail: map[string]string{}, waiting: map[string]*waiting{},
		state: state{Requests: map[string]string{}, Failures: map[string]string{}, Pending: map[string]int{}}}
}

// Snapshot implements fake.Snapshotter.
func (c *cloud) Snapshot() http.Handler {
	past := &cloud{t: c.t, fail: map[string]string{}, waiting: map[string]*waiting{}}
	data, err := json.Marshal(c.state)
	if err == nil {
		err = json.Unmarshal(data, &past.state)
	}
	if err != nil {
		c.t.Error(err)
	}
	return past
}

var _ fake.Snapshotter = (*cloud)(nil)

// id makes one that looks like IONOS'.
func (c *cloud) id() string {
	c.state.Next++
	return fmt.Sprintf("%08d-0000-4000-8000-000000000000", c.state.Next)
}

// resource is an object with an id.
func resource(id, kind, state string, properties any) object {
	if properties == nil {
		properties = object{}
	}
	return object{"id": id, "type": kind, "href": "/cloudapi/v6/" + kind + "/" + id, "metadata": object{"state": state, "createdDate": "2026-01-02T03:04:05Z"}, "properties": properties}
}

func props(o object) object       { return o["properties"].(object) }
func idOf(o object) string        { return o["id"].(string) }
func setState(o object, s string) { o["metadata"].(object)["state"] = s }
func nameOf(o object) string      { s, _ := props(o)["name"].(string); return s }

func byID(list []object, id string) object {
	for _, o := range list {
		if idOf(o) == id {
			return o
		}
	}
	return nil
}

func without(list []object, id string) []object {
	return slices.DeleteFunc(list, func(o object) bool { return idOf(o) == id })
}

func (c *cloud) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body := object{}
	data, _ := io.ReadAll(r.Body)
	if len(data) > 0 {
		if err := json.Unmarshal(data, &body); err != nil {
			c.say(w, 400, err.Error())
			return
		}
	}
	c.pass()
	c.authorization, c.contract = r.Header.Get("Authorization"), r.Header.Values("X-Contract-Number")
	for name, value := range map[string]string{"Remaining": "100", "Limit": "600", "Burst": "600"} {
		w.Header().Set("X-RateLimit-"+name, value)
	}
	path := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	switch path[0] {
	case "contracts":
		c.answer(w, 200, object{"items": []object{{"type": "contract", "properties": object{"contractNumber": 31234567}}}})
	case "labels":
		c.list(w, c.state.Labels)
	case "requests":
		c.request(w, path[1])
	case "images":
		c.images(w, r.Method, path[1:], body)
	case "ipblocks":
		c.blocks(w, r.Method, path[1:], body)
	case "datacenters":
		c.centers(w, r.Method, path[1:], body)
	default:
		c.say(w, 404, "there is no such resource")
	}
}

func (c *cloud) answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if body != nil {
		_ = json.NewEncoder(w).Encode(body)
	}
}

func (c *cloud) say(w http.ResponseWriter, status int, message string) {
	c.answer(w, status, object{"httpStatus": status, "messages": []object{{"errorCode": strconv.Itoa(status), "message": message}}})
}

func (c *cloud) missing(w http.ResponseWriter) { c.say(w, 404, "Resource does not exist") }

// list answers with objects as they are at a depth of 1.
func (c *cloud) list(w http.ResponseWriter, items []object) {
	if items == nil {
		items = []object{}
	}
	c.answer(w, 200, object{"id": "list", "type": "collection", "items": items})
}

// accept takes a write, which is done later.
func (c *cloud) accept(w http.ResponseWriter, what, dc string, body any, do func()) {
	if dc != "" {
		for _, q := range c.waiting {
			if q.dc == dc {
				c.busy++
				c.say(w, 423, "The data center is locked by another request")
				return
			}
		}
	}
	id := c.id()
	c.state.Requests[id] = "QUEUED"
	c.waiting[id] = &waiting{dc: dc, left: c.polls, fails: c.fail[what], do: do}
	w.Header().Set("Location", "https://api.ionos.com/cloudapi/v6/requests/"+id+"/status")
	w.Header().Set("Content-Type", "application/json")
	c.answer(w, 202, body)
}

// pass is time passing.
func (c *cloud) pass() {
	for _, id := range slices.Sorted(maps.Keys(c.waiting)) {
		q := c.waiting[id]
		if c.state.Requests[id] = "RUNNING"; q.left <= 0 {
			c.finish(id, q)
		}
		q.left--
	}
}

// request tells how one goes.
func (c *cloud) request(w http.ResponseWriter, id string) {
	status, ok := c.state.Requests[id]
	if !ok {
		c.missing(w)
		return
	}
	message := "Request is " + status
	if text := c.state.Failures[id]; text != "" {
		message = text
	}
	c.answer(w, 200, object{"id": id, "type": "request-status", "metadata": object{"status": status, "message": message}})
}

func (c *cloud) finish(id string, q *waiting) {
	delete(c.waiting, id)
	c.state.Requests[id] = "DONE"
	if q.fails != "" {
		c.state.Requests[id], c.state.Failures[id] = "FAILED", q.fails
		return
	}
	q.do()
	if c.watch != nil {
		c.watch()
	}
}

// settle does all that waits: IONOS does it, whether somebody asks or not. Files become
// images when they are whole, and some when they are not.
func (c *cloud) settle(files bool) {
	for _, id := range slices.Sorted(maps.Keys(c.waiting)) {
		c.finish(id, c.waiting[id])
	}
	if files {
		c.ingest(true)
	}
}

// merge puts a change's members over those that are there.
func merge(into, change object) {
	for k, v := range change {
		into[k] = v
	}
}

func (c *cloud) volumes(w http.ResponseWriter, d *center, method string, path []string, body object) {
	if len(path) == 0 {
		c.list(w, d.Volumes)
		return
	}
	volume := byID(d.Volumes, path[0])
	switch {
	case volume == nil:
		c.missing(w)
	case len(path) > 1:
		c.labels(w, method, "volume", path[0], path[2:], body)
	case method == "GET":
		c.answer(w, 200, volume)
	case method == "PATCH":
		c.accept(w, "PATCH volumes", idOf(d.Object), volume, func() { merge(props(volume), body) })
	default:
		c.accept(w, "DELETE volumes", idOf(d.Object), nil, func() {
			d.Volumes = without(d.Volumes, path[0])
			c.dropLabels(path[0])
			for _, m := range d.Servers {
				m.Volumes = slices.DeleteFunc(m.Volumes, func(v string) bool { return v == path[0] })
			}
		})
	}
}
