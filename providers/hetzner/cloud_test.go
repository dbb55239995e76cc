package hetzner

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// obj is a resource as the API shows it. Members that begin with "_" are not shown.
type obj = map[string]any

// cloud is a project at Hetzner. Time goes by with requests: an action is done when
// some more of them have come.
type cloud struct {
	t       *testing.T
	token   string
	kinds   map[string][]obj
	next    int64
	running []*running
	patient int // how many requests an action takes
	perPage int // what a page holds at most
	past    bool
	// maxVolumes is the project's limit, 0 is none.
	maxVolumes int
	// then is called once, when the next request is handled.
	then   atomic.Pointer[func()]
	device string // of volumes, other than theirs
	mux    *http.ServeMux
	lab    *lab
}

// running is an action that is not done.
type running struct {
	action obj
	left   int
	done   func()
}

// apiError ends a request.
type apiError struct {
	status int
	code   string
}

const created = "2026-01-30T23:50:00Z"

func newCloud(t *testing.T, token string) *cloud {
	c := &cloud{t: t, token: token, kinds: map[string][]obj{}, next: 100, patient: 3, perPage: 5, lab: newLab(t)}
	c.stock()
	c.routes()
	return c
}

// Snapshot implements fake.Snapshotter.
func (c *cloud) Snapshot() http.Handler {
	data, err := json.Marshal(c.kinds)
	if err != nil {
		c.t.Error(err)
	}
	s := &cloud{t: c.t, token: c.token, perPage: c.perPage, past: true}
	if err := json.Unmarshal(data, &s.kinds); err != nil {
		c.t.Error(err)
	}
	s.routes()
	return s
}

func (c *cloud) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("RateLimit-Limit", "3600")
	w.Header().Set("RateLimit-Remaining", "3500")
	w.Header().Set("RateLimit-Reset", strconv.FormatInt(time.Now().Unix()+60, 10))
	defer func() {
		switch e := recover().(type) {
		case nil:
		case apiError:
			w.WriteHeader(e.status)
			_ = json.NewEncoder(w).Encode(refusal(e.code))
		default:
			panic(e)
		}
	}()
	if r.Header.Get("Authorization") != "Bearer "+c.token {
		panic(apiError{401, "unauthorized"})
	}
	if then := c.then.Swap(nil); then != nil {
		defer (*then)()
	}
	if !c.past {
		c.tick()
	}
	c.mux.ServeHTTP(w, r)
}

func refusal(code string) obj {
	return obj{"error": obj{"code": code, "message": "it is said: " + code}}
}

// reset makes a project what another was.
func (c *cloud) reset(t *testing.T, kinds map[string][]obj) {
	t.Helper()
	data, err := json.Marshal(kinds)
	if err != nil {
		t.Fatal(err)
	}
	c.kinds, c.running = nil, nil
	if err := json.Unmarshal(data, &c.kinds); err != nil {
		t.Fatal(err)
	}
}

// tick has one request's time go by.
func (c *cloud) tick() {
	for _, s := range c.kinds["servers"] {
		if s["status"] == "running" && c.lab.isOff(id(s)) {
			if s["_off"] = n(s["_off"]) + 1; n(s["_off"]) > 3 { // a shutdown takes time
				s["status"] = "off"
			}
		}
	}
	for _, r := range slices.Clone(c.running) {
		if r.left--; r.left > 0 {
			continue
		}
		c.running = slices.DeleteFunc(c.running, func(x *running) bool { return x == r })
		r.action["status"], r.action["progress"], r.action["finished"] = "success", 100, created
		r.done()
	}
}

// act begins an action; its resources are locked until it is done.
func (c *cloud) act(command string, done func(), on ...any) obj {
	resources := []any{}
	for i := 0; i < len(on); i += 2 {
		resources = append(resources, obj{"type": on[i], "id": on[i+1]})
		if o := c.find(on[i].(string)+"s", on[i+1].(int64)); o != nil {
			o["_locks"] = n(o["_locks"]) + 1
		}
	}
	a := obj{"id": c.number(), "command": command, "status": "running", "progress": 0, "started": created, "finished": nil, "error": nil, "resources": resources}
	c.kinds["actions"] = append(c.kinds["actions"], a)
	c.running = append(c.running, &running{a, c.patient, func() {
		for i := 0; i < len(on); i += 2 {
			if o := c.find(on[i].(string)+"s", on[i+1].(int64)); o != nil {
				o["_locks"] = n(o["_locks"]) - 1
			}
		}
		if done != nil {
			done()
		}
	}})
	return a
}

func (c *cloud) number() int64 { c.next++; return c.next }

// n is a number, of JSON's too.
func n(v any) int64 {
	switch v := v.(type) {
	case int64:
		return v
	case int:
		return int64(v)
	case float64:
		return int64(v)
	}
	return 0
}

func id(o obj) int64 { return n(o["id"]) }

func (c *cloud) find(kind string, number int64) obj {
	for _, o := range c.kinds[kind] {
		if id(o) == number {
			return o
		}
	}
	return nil
}

// get is the resource of a path, which must be free unless it is only read.
func (c *cloud) get(r *http.Request, kind string) obj {
	number, _ := strconv.ParseInt(r.PathValue("id"), 10, 64)
	o := c.find(kind, number)
	if o == nil {
		panic(apiError{404, "not_found"})
	}
	if r.Method != http.MethodGet && n(o["_locks"]) > 0 {
		panic(apiError{423, "locked"})
	}
	return o
}

func (c *cloud) drop(kind string, o obj) {
	c.kinds[kind] = slices.DeleteFunc(c.kinds[kind], func(x obj) bool { return id(x) == id(o) })
}

// unique refuses a name that is taken.
func (c *cloud) unique(kind string, name any) {
	for _, o := range c.kinds[kind] {
		if o["name"] == name {
			panic(apiError{409, "uniqueness_error"})
		}
	}
}

func read(r *http.Request) obj {
	body, _ := io.ReadAll(r.Body)
	in := obj{}
	if len(body) > 0 {
		if err := json.Unmarshal(body, &in); err != nil {
			panic(apiError{400, "json_error"})
		}
	}
	return in
}

func answer(w http.ResponseWriter, status int, body obj) {
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

// shown is a resource without what is hidden.
func (c *cloud) shown(kind string, o obj) obj {
	out := maps.Clone(o)
	if kind == "servers" {
		c.joinServer(out)
	}
	maps.DeleteFunc(out, func(key string, _ any) bool { return strings.HasPrefix(key, "_") })
	return out
}

func (c *cloud) shownAll(kind string, list []obj) []obj {
	out := []obj{}
	for _, o := range list {
		out = append(out, c.shown(kind, o))
	}
	return out
}

// list answers with the resources that a query selects, a page of them.
func (c *cloud) list(kind string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		var all []obj
		for _, o := range c.kinds[kind] {
			keep := selected(o, q.Get("label_selector"))
			for _, member := range []string{"name", "type", "status", "architecture", "id", "ip"} {
				if want := q[member]; len(want) > 0 && !slices.Contains(want, fmt.Sprint(o[member])) {
					keep = false
				}
			}
			if keep {
				all = append(all, o)
			}
		}
		page, per := 1, 25
		if text := q.Get("page"); text != "" {
			page, _ = strconv.Atoi(text)
		}
		if text := q.Get("per_page"); text != "" {
			per, _ = strconv.Atoi(text)
		}
		per = min(per, c.perPage)
		last := max(1, (len(all)+per-1)/per)
		meta := obj{"page": page, "per_page": per, "last_page": last, "total_entries": len(all), "previous_page": nil, "next_page": nil}
		if page > 1 {
			meta["previous_page"] = page - 1
		}
		if page < last {
			meta["next_page"] = page + 1
		}
		from := min((page-1)*per, len(all))
		answer(w, 200, obj{kind: c.shownAll(kind, all[from:min(from+per, len(all))]), "meta": obj{"pagination": meta}})
	}
}

// selected knows "name" and "name=value", and several with commas.
func selected(o obj, selector string) bool {
	given, _ := o["labels"].(map[string]any)
	for term := range strings.SplitSeq(selector, ",") {
		name, value, exact := strings.Cut(term, "=")
		if got, ok := given[name]; term != "" && (!ok || exact && got != value) {
			return false
		}
	}
	return true
}

func (c *cloud) one(kind, name string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		answer(w, 200, obj{name: c.shown(kind, c.get(r, kind))})
	}
}

// put changes labels, name and description.
func (c *cloud) put(kind, name string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		o := c.get(r, kind)
		maps.Copy(o, read(r))
		answer(w, 200, obj{name: c.shown(kind, o)})
	}
}

// remove deletes at once.
func (c *cloud) remove(kind string, allowed func(obj)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		o := c.get(r, kind)
		if allowed != nil {
			allowed(o)
		}
		c.drop(kind, o)
		w.Header().Del("Content-Type")
		w.WriteHeader(204)
	}
}

func labelsIn(in obj) obj {
	if given, ok := in["labels"].(map[string]any); ok {
		return given
	}
	return obj{}
}

func (c *cloud) routes() {
	c.mux = http.NewServeMux()
	for kind, name := range map[string]string{
		"servers": "server", "images": "image", "firewalls": "firewall", "ssh_keys": "ssh_key", "primary_ips": "primary_ip",
		"volumes": "volume", "actions": "action", "server_types": "server_type", "locations": "location",
	} {
		c.mux.HandleFunc("GET /"+kind, c.list(kind))
		c.mux.HandleFunc("GET /"+kind+"/{id}", c.one(kind, name))
		c.mux.HandleFunc("PUT /"+kind+"/{id}", c.put(kind, name))
	}
	for pattern, handler := range map[string]http.HandlerFunc{
		"POST /servers":                           c.createServer,
		"DELETE /servers/{id}":                    c.deleteServer,
		"POST /servers/{id}/actions/{action}":     c.serverAction,
		"POST /firewalls":                         c.createFirewall,
		"POST /firewalls/{id}/actions/{action}":   c.firewallAction,
		"POST /ssh_keys":                          c.createKey,
		"POST /volumes":                           c.createVolume,
		"POST /volumes/{id}/actions/{action}":     c.volumeAction,
		"POST /primary_ips/{id}/actions/{action}": c.addressAction,
		"DELETE /ssh_keys/{id}":                   c.remove("ssh_keys", nil),
		"DELETE /images/{id}":                     c.remove("images", nil),
		"DELETE /volumes/{id}":                    c.remove("volumes", func(o obj) { refuseIf(o["server"] != nil, 423, "locked") }),
		"DELETE /primary_ips/{id}":                c.remove("primary_ips", func(o obj) { refuseIf(o["assignee_id"] != nil, 422, "must_be_unassigned") }),
		"DELETE /firewalls/{id}":                  c.remove("firewalls", func(o obj) { refuseIf(len(o["applied_to"].([]any)) > 0, 422, "resource_in_use") }),
	} {
		c.mux.HandleFunc(pattern, handler)
	}
}

func refuseIf(bad bool, status int, code string) {
	if bad {
		panic(apiError{status, code})
	}
}
