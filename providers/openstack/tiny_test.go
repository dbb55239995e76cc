package openstack

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gophercloud/gophercloud/v2"

	"ingot/providers"
)

// tiny imitates nova, cinder and neutron as far as a move asks them, so that an answer
// can be lost at every single request; the same moves are made with the real ones by
// "make openstack".
type tiny struct {
	mu      sync.Mutex
	state   map[string]string            // of servers
	meta    map[string]map[string]string // of servers and volumes
	on      map[string]string            // volume -> server
	fip     map[string]string            // floating ip -> port
	fipText map[string]string
	boots   []string
	before  func(method, path string) (status int) // 0 goes on
	after   func(method, path string) (status int)
}

const sa, sb, va, vb, fa, fb = "sa", "sb", "va", "vb", "fa", "fb"

func mk(id, name string) map[string]string {
	return map[string]string{providers.LabelID: id, providers.LabelServer: name}
}

func newTiny() *tiny {
	return &tiny{
		state:   map[string]string{sa: "ACTIVE", sb: "ACTIVE"},
		meta:    map[string]map[string]string{sa: mk("ida", "claw"), sb: mk("idb", "claw-2"), va: mk("ida", "claw"), vb: mk("idb", "claw-2")},
		on:      map[string]string{va: sa, vb: sb},
		fip:     map[string]string{fa: "port-" + sa, fb: "port-" + sb},
		fipText: map[string]string{fa: mark{"ida", "claw"}.text(), fb: mark{"idb", "claw-2"}.text()},
	}
}

type js = map[string]any

func (c *tiny) server(id string) js {
	return js{"id": id, "name": c.meta[id][providers.LabelServer], "status": c.state[id], "metadata": c.meta[id], "addresses": js{}}
}

func (c *tiny) volume(id string) js {
	status, att := "available", []js{}
	if s := c.on[id]; s != "" {
		status, att = "in-use", []js{{"server_id": s, "id": id, "volume_id": id}}
	}
	return js{"id": id, "name": id, "status": status, "attachments": att, "metadata": c.meta[id], "size": 1}
}

func (c *tiny) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var body js
	data, _ := io.ReadAll(r.Body)
	_ = json.Unmarshal(data, &body)
	if c.before != nil {
		if s := c.before(r.Method, r.URL.Path); s != 0 {
			w.WriteHeader(s)
			return
		}
	}
	rec := httptest.NewRecorder()
	c.do(rec, r, body)
	if c.after != nil {
		if s := c.after(r.Method, r.URL.Path); s != 0 {
			w.WriteHeader(s)
			return
		}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(rec.Code)
	_, _ = w.Write(rec.Body.Bytes())
}

var tinyPath = regexp.MustCompile(`^/(compute|volume|network)/(.*)$`)

func (c *tiny) do(w http.ResponseWriter, r *http.Request, body js) {
	say := func(code int, v any) {
		w.WriteHeader(code)
		if v != nil {
			_ = json.NewEncoder(w).Encode(v)
		}
	}
	m := tinyPath.FindStringSubmatch(r.URL.Path)
	p := strings.Split(strings.TrimPrefix(m[2], "v2.0/"), "/")
	key := r.Method + " " + m[1] + " " + p[0]
	if len(p) > 2 {
		key += " " + p[2]
	}
	switch key {
	case "GET compute servers":
		if p[1] == "detail" {
			say(200, js{"servers": []js{c.server(sa), c.server(sb)}})
			return
		}
		say(200, js{"server": c.server(p[1])})
	case "POST compute servers action":
		if _, ok := body["os-start"]; ok {
			c.state[p[1]] = "ACTIVE"
			var has []string
			for v, s := range c.on {
				if s == p[1] {
					has = append(has, v)
				}
			}
			c.boots = append(c.boots, p[1]+" with "+strings.Join(has, ","))
		} else {
			c.state[p[1]] = "SHUTOFF"
		}
		say(202, nil)
	case "POST compute servers metadata":
		for k, v := range body["metadata"].(js) {
			c.meta[p[1]][k] = v.(string)
		}
		say(200, js{"metadata": c.meta[p[1]]})
	case "DELETE compute servers metadata":
		if c.meta[p[1]][p[3]] == "" {
			say(404, nil)
			return
		}
		delete(c.meta[p[1]], p[3])
		say(204, nil)
	case "DELETE compute servers os-volume_attachments":
		if c.on[p[3]] != p[1] {
			say(404, nil)
			return
		}
		c.on[p[3]] = ""
		say(202, nil)
	case "POST compute servers os-volume_attachments":
		v := body["volumeAttachment"].(js)["volumeId"].(string)
		if c.on[v] != "" {
			say(400, js{"badRequest": js{"message": "in use"}})
			return
		}
		c.on[v] = p[1]
		say(200, js{"volumeAttachment": js{"id": v, "volumeId": v, "serverId": p[1]}})
	case "GET volume volumes":
		if p[1] == "detail" {
			say(200, js{"volumes": []js{c.volume(va), c.volume(vb)}})
			return
		}
		say(200, js{"volume": c.volume(p[1])})
	case "PUT volume volumes":
		for k, v := range body["volume"].(js)["metadata"].(js) {
			c.meta[p[1]][k] = v.(string)
		}
		say(200, js{"volume": c.volume(p[1])})
	case "GET network ports":
		s := r.URL.Query().Get("device_id")
		say(200, js{"ports": []js{{"id": "port-" + s, "device_id": s, "port_security_enabled": true}}})
	case "GET network floatingips":
		var all []js
		for id, port := range c.fip {
			all = append(all, js{"id": id, "floating_ip_address": id, "port_id": port, "description": c.fipText[id]})
		}
		say(200, js{"floatingips": all})
	case "PUT network floatingips":
		f := body["floatingip"].(js)
		port, _ := f["port_id"].(string)
		c.fip[p[1]] = port
		if d, ok := f["description"].(string); ok {
			c.fipText[p[1]] = d
		}
		say(200, js{"floatingip": js{"id": p[1]}})
	default:
		if r.Method == "GET" {
			say(200, js{p[0]: []js{}})
			return
		}
		panic(key)
	}
}

func (c *tiny) String() string {
	var s []string
	for v, on := range c.on {
		s = append(s, fmt.Sprintf("%s@%s(of %s)", v, on, c.meta[v][providers.LabelServer]))
	}
	for f, on := range c.fip {
		s = append(s, f+"@"+on)
	}
	for x, st := range c.state {
		s = append(s, x+"="+st)
	}
	slices.Sort(s)
	return strings.Join(s, " ")
}

func (c *tiny) open(t *testing.T) (p *Provider, first, second providers.Server) {
	t.Helper()
	web := httptest.NewServer(c)
	t.Cleanup(web.Close)
	// one try: what Weather repeats is not the point
	weather := &providers.Weather{Base: http.DefaultTransport, Attempts: 1}
	client := &gophercloud.ProviderClient{TokenID: "t", HTTPClient: http.Client{Transport: sized{weather}}}
	sc := func(name string) *gophercloud.ServiceClient {
		return &gophercloud.ServiceClient{ProviderClient: client, Endpoint: web.URL + "/" + name + "/"}
	}
	p = &Provider{hide: &scrubber{}, poll: time.Millisecond, adopted: map[string]bool{}, compute: sc("compute"), volume: sc("volume"), network: sc("network")}
	p.network.ResourceBase = p.network.Endpoint + "v2.0/"
	list, err := p.Servers(t.Context())
	if err != nil || len(list) != 2 {
		t.Fatal(list, err)
	}
	return p, list[0], list[1]
}
