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

func isAt(s obj) func(any) bool {
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
			refuseIf(slices.ContainsFunc(list(f["applied_to"]), isAt(s)), 422, "firewall_already_applied")
			actions = append(actions, c.apply(f, s))
		}
	case "remove_from_resources":
		for _, at := range list(in["remove_from"]) {
			s := c.byRef("servers", at.(obj)["server"].(obj)["id"])
			refuseIf(!slices.ContainsFunc(list(f["applied_to"]), isAt(s)), 404, "firewall_resource_not_found")
			if walls := c.shown("servers", s)["public_net"].(obj)["firewalls"]; len(list(walls)) < 2 {
				c.t.Errorf("the server %s is left without a firewall", s["name"])
			}
			actions = append(actions, c.act("remove_firewall", func() { f["applied_to"] = slices.DeleteFunc(list(f["applied_to"]), isAt(s)) }, "firewall", id(f)))
		}
	}
	answer(w, 201, obj{"actions": actions})
}

// newVolume is a disk of a user's.
func (c *cloud) newVolume(name string, server any, labels obj) obj {
	v := obj{
		"id": c.number(), "name": name, "server": server, "labels": labels, "size": 10, "status": "available", "created": created, "format": nil,
		"linux_device": "/dev/disk/by-id/x", "location": falkenstein, "protection": obj{"delete": false},
	}
	c.kinds["volumes"] = append(c.kinds["volumes"], v)
	return v
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
		action = c.act("attach_volume", func() { v["server"] = s["id"] }, "volume", id(v), "server", id(s))
	case "detach":
		refuseIf(v["server"] == nil, 422, "invalid_input")
		if s := c.find("servers", n(v["server"])); s["status"] != "off" {
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
