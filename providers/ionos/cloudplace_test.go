package ionos

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
)

func (c *cloud) centers(w http.ResponseWriter, method string, path []string, body object) {
	if len(path) == 0 && method == "GET" {
		var all []object
		for _, d := range c.state.Centers {
			all = append(all, d.Object)
		}
		c.list(w, all)
		return
	}
	if len(path) == 0 {
		d := &center{Object: resource(c.id(), "datacenter", "BUSY", body["properties"])}
		c.state.Centers = append(c.state.Centers, d)
		c.accept(w, "POST datacenters", idOf(d.Object), d.Object, func() { setState(d.Object, "AVAILABLE") })
		return
	}
	at := slices.IndexFunc(c.state.Centers, func(d *center) bool { return idOf(d.Object) == path[0] })
	if at < 0 {
		c.missing(w)
		return
	}
	d := c.state.Centers[at]
	if len(path) == 1 {
		if method == "GET" {
			busy := slices.ContainsFunc(slices.Collect(maps.Values(c.waiting)), func(q *waiting) bool { return q.dc == path[0] })
			if setState(d.Object, "AVAILABLE"); busy {
				setState(d.Object, "BUSY")
			}
			c.answer(w, 200, d.Object)
			return
		}
		c.accept(w, "DELETE datacenters", path[0], nil, func() {
			c.state.Centers = slices.DeleteFunc(c.state.Centers, func(other *center) bool { return other == d })
		})
		return
	}
	switch path[1] {
	case "servers":
		c.servers(w, d, method, path[2:], body)
	case "volumes":
		c.volumes(w, d, method, path[2:], body)
	case "lans":
		c.lans(w, d, method, path[2:], body)
	default:
		c.missing(w)
	}
}

func (c *cloud) lans(w http.ResponseWriter, d *center, method string, path []string, body object) {
	dc := idOf(d.Object)
	if len(path) == 0 {
		if method == "GET" {
			c.list(w, d.LANs)
			return
		}
		c.state.Next++
		l := resource(strconv.Itoa(c.state.Next), "lan", "BUSY", body["properties"])
		d.LANs = append(d.LANs, l)
		c.accept(w, "POST lans", dc, l, func() { setState(l, "AVAILABLE") })
		return
	}
	lan := byID(d.LANs, path[0])
	switch {
	case lan == nil:
		c.missing(w)
	case method == "GET":
		c.answer(w, 200, lan)
	default:
		for _, m := range d.Servers {
			for _, card := range m.Cards {
				if fmt.Sprint(props(card.Object)["lan"]) == path[0] {
					c.say(w, 422, "The LAN has network cards")
					return
				}
			}
		}
		c.accept(w, "DELETE lans", dc, nil, func() { d.LANs = without(d.LANs, path[0]) })
	}
}

// labels makes and changes those of a resource; they are there at once.
func (c *cloud) labels(w http.ResponseWriter, method, kind, id string, path []string, body object) {
	if method == "DELETE" {
		before := len(c.state.Labels)
		c.state.Labels = slices.DeleteFunc(c.state.Labels, func(l object) bool {
			return props(l)["resourceId"] == id && props(l)["key"] == path[0]
		})
		if len(c.state.Labels) == before {
			c.missing(w)
			return
		}
		c.answer(w, 200, nil)
		return
	}
	p := props(body)
	at := slices.IndexFunc(c.state.Labels, func(l object) bool {
		return props(l)["resourceId"] == id && props(l)["key"] == p["key"]
	})
	switch {
	case method == "POST" && at >= 0:
		c.say(w, 422, "A label with this key exists")
		return
	case method == "PUT" && at < 0:
		c.missing(w)
		return
	case at < 0:
		c.state.Labels = append(c.state.Labels, object{"id": "urn:label:" + kind + ":" + id + ":" + fmt.Sprint(p["key"]), "type": "label",
			"properties": object{"key": p["key"], "value": p["value"], "resourceId": id, "resourceType": kind}})
	default:
		props(c.state.Labels[at])["value"] = p["value"]
	}
	status := 201
	if method == "PUT" {
		status = 200
	}
	c.answer(w, status, object{"id": p["key"], "type": "label", "properties": object{"key": p["key"], "value": p["value"]}})
}

func (c *cloud) dropLabels(id string) {
	c.state.Labels = slices.DeleteFunc(c.state.Labels, func(l object) bool { return props(l)["resourceId"] == id })
}
