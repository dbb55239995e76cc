package hetzner

import (
	"fmt"
	"net/http"
	"net/netip"
	"slices"
)

func (c *cloud) createFirewall(w http.ResponseWriter, r *http.Request) {
	in := read(r)
	c.unique("firewalls", in["name"])
	f := obj{"id": c.number(), "name": in["name"], "labels": labelsIn(in), "created": created, "applied_to": []any{}, "rules": canonical(list(in["rules"]))}
	c.kinds["firewalls"] = append(c.kinds["firewalls"], f)
	answer(w, 201, obj{"firewall": c.shown("firewalls", f), "actions": []any{}})
}

// canonical is how the API keeps rules: all members there, IPv6 as in RFC 5952.
func canonical(rules []any) []any {
	out := []any{}
	for _, x := range rules {
		r := x.(obj)
		kept := obj{"direction": r["direction"], "protocol": r["protocol"], "port": r["port"], "description": r["description"], "source_ips": []any{}, "destination_ips": []any{}}
		for _, member := range []string{"source_ips", "destination_ips"} {
			nets := []any{}
			for _, text := range list(r[member]) {
				prefix, err := netip.ParsePrefix(text.(string))
				refuseIf(err != nil || prefix != prefix.Masked(), 422, "invalid_input")
				nets = append(nets, prefix.String())
			}
			refuseIf(len(nets) > maxSources, 422, "invalid_input")
			kept[member] = nets
		}
		ported := r["protocol"] == "tcp" || r["protocol"] == "udp"
		refuseIf(ported != (r["port"] != nil), 422, "invalid_input")
		refuseIf(r["direction"] == "in" && len(kept["source_ips"].([]any)) == 0, 422, "invalid_input")
		out = append(out, kept)
	}
	return out
}

// apply puts a firewall before a server, pending until the action is done.
func (c *cloud) apply(f, s obj) obj {
	f["applied_to"] = append(list(f["applied_to"]), obj{"type": "server", "server": obj{"id": s["id"]}})
	pending, ok := f["_pending"].(obj)
	if !ok {
		pending = obj{}
		f["_pending"] = pending
	}
	key := fmt.Sprint(id(s))
	pending[key] = true
	a := c.act("apply_firewall", func() { delete(pending, key) }, "firewall", id(f))
	c.running[len(c.running)-1].left += 8 // the server could be running by then
	return a
}

func appliesTo(s obj) func(any) bool {
	return func(at any) bool { return n(at.(obj)["server"].(obj)["id"]) == id(s) }
}

func (c *cloud) firewallAction(w http.ResponseWriter, r *http.Request) {
	f, in := c.get(r, "firewalls"), read(r)
	actions := []any{}
	switch r.PathValue("action") {
	case "set_rules":
		f["rules"] = canonical(list(in["rules"]))
		actions = append(actions, c.act("set_firewall_rules", nil, "firewall", id(f)))
	case "apply_to_resources":
		for _, at := range list(in["apply_to"]) {
			s := c.byRef("servers", at.(obj)["server"].(obj)["id"])
			refuseIf(slices.ContainsFunc(list(f["applied_to"]), appliesTo(s)), 422, "firewall_already_applied")
			actions = append(actions, c.apply(f, s))
		}
	case "remove_from_resources":
		for _, at := range list(in["remove_from"]) {
			s := c.byRef("servers", at.(obj)["server"].(obj)["id"])
			refuseIf(!slices.ContainsFunc(list(f["applied_to"]), appliesTo(s)), 404, "firewall_resource_not_found")
			if walls := c.shown("servers", s)["public_net"].(obj)["firewalls"]; len(list(walls)) < 2 {
				c.t.Errorf("the server %s is left without a firewall", s["name"])
			}
			actions = append(actions, c.act("remove_firewall", func() { f["applied_to"] = slices.DeleteFunc(list(f["applied_to"]), appliesTo(s)) }, "firewall", id(f)))
		}
	}
	answer(w, 201, obj{"actions": actions})
}

// newVolume is a disk of a user's.
func (c *cloud) newVolume(name string, server any, labels obj) obj {
	v := obj{
		"id": c.number(), "name": name, "server": server, "labels": labels, "size": 10, "status": "available", "created": created, "format": nil,
		"location": falkenstein, "protection": obj{"delete": false},
	}
	v["linux_device"] = deviceName(id(v))
	c.kinds["volumes"] = append(c.kinds["volumes"], v)
	return v
}

func (c *cloud) createVolume(w http.ResponseWriter, r *http.Request) {
	in := read(r)
	c.unique("volumes", in["name"])
	location := c.byRef("locations", in["location"])
	refuseIf(n(in["size"]) < 10 || n(in["size"]) > 10240, 422, "invalid_input")
	refuseIf(c.maxVolumes > 0 && len(c.kinds["volumes"]) >= c.maxVolumes, 403, "resource_limit_exceeded")
	v := c.newVolume(in["name"].(string), nil, labelsIn(in))
	v["size"], v["status"], v["format"], v["location"] = in["size"], "creating", in["format"], location
	if c.device != "" {
		v["linux_device"] = c.device
	}
	action := c.act("create_volume", func() { v["status"] = "available" }, "volume", id(v))
	answer(w, 201, obj{"volume": c.shown("volumes", v), "action": action, "next_actions": []any{}})
}

// attached are the volumes of a server.
func (c *cloud) attached(s obj) []obj {
	var list []obj
	for _, v := range c.kinds["volumes"] {
		if v["server"] != nil && n(v["server"]) == id(s) {
			list = append(list, v)
		}
	}
	return list
}

// fileSystem is the label of what is on a volume.
func (c *cloud) fileSystem(v obj) string {
	if label, ok := v["_label"].(string); ok {
		return label
	}
	return c.lab.fileSystem(id(v))
}

// startsOurs is the start of a machine of ours: docs/image.md. At its first boot it
// takes the volume that there is, or makes one on its own disk, and there must be only
// one ever after.
func (c *cloud) startsOurs(s obj) {
	volumes := 0
	for _, v := range c.attached(s) {
		if got := c.fileSystem(v); got != "ingot-var" {
			c.t.Errorf("the server %s starts with a volume whose label is %q", s["name"], got)
		}
		volumes++
	}
	if s["_state"] == nil {
		s["_state"] = "its own"
		if volumes > 0 {
			s["_state"] = "a volume"
		}
	}
	if want := map[any]int{"its own": 0, "a volume": 1}[s["_state"]]; volumes != want {
		c.t.Errorf("the server %s, whose state is on %s, starts with %d volumes", s["name"], s["_state"], volumes)
	}
}

func isStock(s obj) bool {
	image, _ := s["image"].(obj)
	return image["type"] == "system"
}

func (c *cloud) volumeAction(w http.ResponseWriter, r *http.Request) {
	v, in := c.get(r, "volumes"), read(r)
	var action obj
	switch r.PathValue("action") {
	case "attach":
		refuseIf(v["server"] != nil, 422, "volume_already_attached")
		s := c.byRef("servers", in["server"])
		if s["status"] != "off" {
			c.t.Errorf("a volume is attached to a server that is %s", s["status"])
		}
		if !isStock(s) && len(c.attached(s)) > 0 {
			c.t.Errorf("the server %s gets a second volume", s["name"])
		}
		if in["automount"] != false {
			c.t.Error("a volume would be mounted")
		}
		refuseIf(fmt.Sprint(v["location"].(obj)["name"]) != fmt.Sprint(s["location"].(obj)["name"]), 422, "invalid_input")
		action = c.act("attach_volume", func() { v["server"] = s["id"] }, "volume", id(v), "server", id(s))
	case "detach":
		refuseIf(v["server"] == nil, 422, "invalid_input")
		if s := c.find("servers", n(v["server"])); s["status"] != "off" && !isStock(s) {
			c.t.Errorf("a volume is taken from a server that is %s", s["status"])
		}
		action = c.act("detach_volume", func() { v["server"] = nil }, "volume", id(v))
	}
	answer(w, 201, obj{"action": action})
}

func (c *cloud) addressAction(w http.ResponseWriter, r *http.Request) {
	ip, in := c.get(r, "primary_ips"), read(r)
	var action obj
	switch r.PathValue("action") {
	case "assign":
		s := c.byRef("servers", in["assignee_id"])
		refuseIf(s["status"] != "off", 422, "server_not_stopped")
		refuseIf(ip["assignee_id"] != nil, 422, "primary_ip_already_assigned")
		for _, other := range c.kinds["primary_ips"] {
			refuseIf(n(other["assignee_id"]) == id(s) && other["type"] == ip["type"], 422, fmt.Sprint("server_has_", ip["type"]))
		}
		action = c.act("assign_primary_ip", func() { ip["assignee_id"] = s["id"] }, "primary_ip", id(ip), "server", id(s))
	case "unassign":
		s := c.find("servers", n(ip["assignee_id"]))
		refuseIf(s == nil, 422, "invalid_input")
		refuseIf(s["status"] != "off", 422, "server_not_stopped")
		action = c.act("unassign_primary_ip", func() { ip["assignee_id"] = nil }, "primary_ip", id(ip), "server", id(s))
	}
	answer(w, 201, obj{"action": action})
}
