package ionos

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// items are those of an entity in the body of a composite request.
func items(o object, entity string) (list []object) {
	entities, _ := o["entities"].(object)
	inner, _ := entities[entity].(object)
	all, _ := inner["items"].([]any)
	for _, one := range all {
		list = append(list, one.(object))
	}
	return list
}

func (c *cloud) servers(w http.ResponseWriter, d *center, method string, path []string, body object) {
	dc := idOf(d.Object)
	if len(path) == 0 {
		if method == "GET" {
			var all []object
			for _, m := range d.Servers {
				all = append(all, m.Object)
			}
			c.list(w, all)
			return
		}
		if !bootable(items(body, "volumes")) {
			c.say(w, 422, "All volumes beside the one with the boot order PRIMARY must have NONE")
			return
		}
		m := c.assemble(d, body)
		c.accept(w, "POST servers", dc, m.Object, func() { c.provision(d, m) })
		if c.fail["POST servers"] != "" {
			setState(m.Object, "AVAILABLE") // and of no use
		}
		return
	}
	at := slices.IndexFunc(d.Servers, func(m *machine) bool { return idOf(m.Object) == path[0] })
	if at < 0 {
		c.missing(w)
		return
	}
	m := d.Servers[at]
	switch {
	case len(path) == 1 && method == "GET":
		c.answer(w, 200, m.Object)
	case len(path) == 1 && method == "PATCH":
		c.accept(w, "PATCH servers", dc, m.Object, func() { merge(props(m.Object), body) })
	case len(path) == 1:
		c.accept(w, "DELETE servers", dc, nil, func() {
			d.Servers = slices.DeleteFunc(d.Servers, func(other *machine) bool { return other == m })
			c.dropLabels(path[0])
		})
	case path[1] == "labels":
		c.labels(w, method, "server", path[0], path[2:], body)
	case path[1] == "volumes":
		c.attachments(w, d, m, method, path[2:], body)
	case path[1] == "cdroms":
		c.discs(w, dc, m, method, path[2:], body)
	case path[1] == "start" || path[1] == "stop":
		c.power(w, d, m, path[1])
	case path[1] == "reboot":
		c.accept(w, "POST reboot", dc, nil, func() { c.boot(d, m) })
	case path[1] == "nics":
		c.cards(w, dc, m, method, path[2:], body)
	default:
		c.missing(w)
	}
}

// assemble makes all that a composite request asks for.
func (c *cloud) assemble(d *center, body object) *machine {
	m := &machine{Object: resource(c.id(), "server", "BUSY", body["properties"])}
	props(m.Object)["vmState"] = "SHUTOFF"
	for n, v := range items(body, "volumes") {
		if c.forgetsState && n > 0 {
			break
		}
		volume := resource(c.id(), "volume", "BUSY", v["properties"])
		d.Volumes = append(d.Volumes, volume)
		m.Volumes = append(m.Volumes, idOf(volume))
		if n == 0 || props(volume)["bootOrder"] == "PRIMARY" {
			props(m.Object)["bootVolume"] = object{"id": idOf(volume)}
		}
	}
	for _, n := range items(body, "nics") {
		card := &networkCard{Object: resource(c.id(), "nic", "BUSY", n["properties"])}
		if ips := texts(props(card.Object)["ips"]); len(ips) == 0 {
			c.state.Next++
			props(card.Object)["ips"] = []string{fmt.Sprintf("198.51.100.%d", c.state.Next%250)}
		}
		for _, r := range items(n, "firewallrules") {
			if c.forgetsRules {
				break
			}
			card.Rules = append(card.Rules, resource(c.id(), "firewall-rule", "AVAILABLE", r["properties"]))
		}
		m.Cards = append(m.Cards, card)
	}
	for _, disc := range items(body, "cdroms") {
		if !c.forgetsDiscs {
			m.Discs = append(m.Discs, idOf(disc))
		}
	}
	d.Servers = append(d.Servers, m)
	return m
}

// provision ends the making of a server: it is switched on.
func (c *cloud) provision(d *center, m *machine) {
	setState(m.Object, "AVAILABLE")
	for _, id := range m.Volumes {
		setState(byID(d.Volumes, id), "AVAILABLE")
	}
	for _, card := range m.Cards {
		setState(card.Object, "AVAILABLE")
	}
	c.boot(d, m)
}

// boot remembers what a server was like when it was switched on.
func (c *cloud) boot(d *center, m *machine) {
	props(m.Object)["vmState"] = "RUNNING"
	b := boot{server: nameOf(m.Object), disc: len(m.Discs) > 0, from: "disk"}
	for _, card := range m.Cards {
		b.active, _ = props(card.Object)["firewallActive"].(bool)
		b.rules += len(card.Rules)
	}
	if b.disc { // VolumeProperties.bootOrder
		b.from = "disc"
		for _, id := range m.Volumes {
			if props(byID(d.Volumes, id))["bootOrder"] == "PRIMARY" {
				b.from = "disk"
			}
		}
	}
	for _, id := range m.Volumes {
		if c.keepsState(byID(d.Volumes, id)) {
			b.state += id
			if props(m.Object)["bootVolume"].(object)["id"] == id {
				b.from = "state"
			}
		}
	}
	c.boots = append(c.boots, b)
}

func (c *cloud) discs(w http.ResponseWriter, dc string, m *machine, method string, path []string, body object) {
	switch method {
	case "GET":
		var all []object
		for _, id := range m.Discs {
			if image := byID(c.state.Images, id); image != nil {
				all = append(all, image)
			}
		}
		c.list(w, all)
	case "POST":
		image := byID(c.state.Images, idOf(body))
		if image == nil {
			c.missing(w)
			return
		}
		c.accept(w, "POST cdroms", dc, image, func() { m.Discs = append(m.Discs, idOf(body)) })
	case "DELETE":
		c.accept(w, "DELETE cdroms", dc, nil, func() {
			m.Discs = slices.DeleteFunc(m.Discs, func(id string) bool { return id == path[0] })
		})
	}
}

func (c *cloud) cards(w http.ResponseWriter, dc string, m *machine, method string, path []string, body object) {
	if len(path) == 0 {
		var all []object
		for _, card := range m.Cards {
			all = append(all, card.Object)
		}
		c.list(w, all)
		return
	}
	at := slices.IndexFunc(m.Cards, func(n *networkCard) bool { return idOf(n.Object) == path[0] })
	if at < 0 {
		c.missing(w)
		return
	}
	card := m.Cards[at]
	switch {
	case len(path) > 1:
		c.rules(w, dc, card, method, path[2:], body)
	case method == "GET":
		c.answer(w, 200, card.Object)
	case c.taken(card, texts(body["ips"])):
		c.say(w, 422, "The IP address is used by another NIC, or is not reserved")
	default:
		if body["ips"] != nil && props(m.Object)["vmState"] != "SHUTOFF" {
			c.t.Errorf("the address of %s changes while it runs", nameOf(m.Object))
		}
		c.accept(w, "PATCH nics", dc, card.Object, func() {
			if ips, ok := body["ips"]; ok && len(texts(ips)) == 0 {
				c.state.Next++
				body["ips"] = []string{fmt.Sprintf("198.51.100.%d", c.state.Next%250)}
			}
			merge(props(card.Object), body)
		})
	}
}

// taken reports whether a card cannot have these addresses.
func (c *cloud) taken(card *networkCard, ips []string) bool {
	for _, ip := range ips {
		if !c.reserved(ip) {
			return true
		}
		for _, d := range c.state.Centers {
			for _, m := range d.Servers {
				if slices.ContainsFunc(m.Cards, func(n *networkCard) bool { return n != card && slices.Contains(texts(props(n.Object)["ips"]), ip) }) {
					return true
				}
			}
		}
	}
	return false
}

func (c *cloud) rules(w http.ResponseWriter, dc string, card *networkCard, method string, path []string, body object) {
	switch method {
	case "GET":
		c.list(w, card.Rules)
	case "POST":
		p := props(body)
		if v, ok := p["ipVersion"].(string); ok && p["sourceIp"] != nil && strings.Contains(fmt.Sprint(p["sourceIp"]), ":") != (v == "IPv6") {
			c.say(w, 422, "ipVersion does not match sourceIp")
			return
		}
		r := resource(c.id(), "firewall-rule", "BUSY", p)
		c.accept(w, "POST firewallrules", dc, r, func() {
			setState(r, "AVAILABLE")
			card.Rules = append(card.Rules, r)
		})
	case "DELETE":
		if byID(card.Rules, path[0]) == nil {
			c.missing(w)
			return
		}
		c.accept(w, "DELETE firewallrules", dc, nil, func() { card.Rules = without(card.Rules, path[0]) })
	}
}
