package hetzner

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
)

var falkenstein = obj{"id": 1, "name": "fsn1", "description": "Falkenstein DC Park 1", "country": "DE", "city": "Falkenstein", "latitude": 50.47, "longitude": 12.37, "network_zone": "eu-central"}

var nuremberg = obj{"id": 2, "name": "nbg1", "description": "Nuremberg DC Park 1", "country": "DE", "city": "Nuremberg", "latitude": 49.45, "longitude": 11.08, "network_zone": "eu-central"}

var datacenter = obj{
	"id": 1, "name": "fsn1-dc8", "description": "", "location": falkenstein,
	"server_types": obj{"available": []any{}, "available_for_migration": []any{}, "supported": []any{}},
}

// stock is what every project has.
func (c *cloud) stock() {
	c.kinds["locations"] = []obj{falkenstein, nuremberg}
	price := func(hour string) []any {
		p := obj{"net": hour, "gross": hour}
		return []any{obj{"location": "fsn1", "price_hourly": p, "price_monthly": p, "price_per_tb_traffic": p, "included_traffic": 1}}
	}
	here := func(old any) []any {
		return []any{obj{"id": 1, "name": "fsn1", "deprecation": old}, obj{"id": 2, "name": "nbg1", "deprecation": old}}
	}
	gone := obj{"announced": created, "unavailable_after": created}
	for _, t := range []struct {
		name, arch, hour string
		disk             int
		old              any
	}{
		{"cx11", "x86", "0.0010", 20, gone},
		{"cax11", "arm", "0.0050", 40, nil},
		{"cpx12", "x86", "0.0095", 40, nil},
		{"cx23", "x86", "0.0056", 40, nil},
		{"cx13", "x86", "0.0060", 20, nil},
		{"cx33", "x86", "0.0088", 80, nil},
	} {
		c.kinds["server_types"] = append(c.kinds["server_types"], obj{
			"id": c.number(), "name": t.name, "description": t.name, "category": "Shared", "cores": 2, "cpu_type": "shared", "memory": 4,
			"disk": t.disk, "architecture": t.arch, "storage_type": "local", "prices": price(t.hour), "locations": here(t.old),
			"deprecated": t.old != nil, "deprecation": t.old,
		})
	}
	for _, name := range []string{"ubuntu-24.04", "debian-12", "debian-13", "debian-11"} {
		flavor, version, _ := strings.Cut(name, "-")
		i := c.newImage("system", name, "x86")
		i["name"], i["os_flavor"], i["os_version"], i["status"], i["rapid_deploy"] = name, flavor, version, "available", true
	}
}

func (c *cloud) newImage(kind, description, arch string) obj {
	i := obj{
		"id": c.number(), "type": kind, "status": "creating", "name": nil, "description": description, "image_size": nil, "disk_size": 5,
		"created": created, "created_from": nil, "bound_to": nil, "os_flavor": "unknown", "os_version": nil, "architecture": arch,
		"protection": obj{"delete": false}, "deprecated": nil, "deleted": nil, "labels": obj{},
	}
	c.kinds["images"] = append(c.kinds["images"], i)
	return i
}

// byRef finds by number or name, as requests may name things.
func (c *cloud) byRef(kind string, ref any) obj {
	for _, o := range c.kinds[kind] {
		if o["name"] == ref || n(ref) != 0 && id(o) == n(ref) {
			return o
		}
	}
	panic(apiError{422, "invalid_input"})
}

func (c *cloud) createServer(w http.ResponseWriter, r *http.Request) {
	in := read(r)
	c.unique("servers", in["name"])
	image, kind := c.byRef("images", in["image"]), c.byRef("server_types", in["server_type"])
	location := c.byRef("locations", in["location"])
	refuseIf(image["status"] != "available" || n(image["disk_size"]) > n(kind["disk"]), 422, "invalid_input")
	s := c.newServer(in["name"], "initializing", labelsIn(in))
	s["location"] = location
	s["image"], s["server_type"], s["primary_disk_size"], s["_user_data"] = c.shown("images", image), kind, kind["disk"], in["user_data"]
	var keys []any
	for _, ref := range list(in["ssh_keys"]) {
		keys = append(keys, c.byRef("ssh_keys", ref)["public_key"])
	}
	s["_keys"] = keys
	next := []any{}
	action := c.act("create_server", func() { s["status"] = "off" }, "server", id(s))
	for _, f := range list(in["firewalls"]) {
		next = append(next, c.apply(c.byRef("firewalls", f.(obj)["firewall"]), s))
	}
	if in["start_after_create"] != false {
		next = append(next, c.act("start_server", func() { c.boot(s) }, "server", id(s)))
	}
	answer(w, 201, obj{"server": c.shown("servers", s), "action": action, "next_actions": next, "root_password": "of-no-use"})
}

// newServer is a server with addresses.
func (c *cloud) newServer(name any, status string, labels obj) obj {
	s := obj{
		"id": c.number(), "name": name, "status": status, "created": created, "image": nil, "server_type": c.kinds["server_types"][0],
		"location": falkenstein, "labels": labels, "primary_disk_size": 20, "datacenter": datacenter,
		"backup_window": nil, "included_traffic": 1, "ingoing_traffic": 0, "outgoing_traffic": 0, "iso": nil, "load_balancers": []any{}, "private_net": []any{},
		"protection": obj{"delete": false, "rebuild": false}, "rescue_enabled": false, "locked": true,
	}
	c.kinds["servers"] = append(c.kinds["servers"], s)
	c.newIP("ipv4", c.lab.address(), id(s))
	c.newIP("ipv6", fmt.Sprintf("2001:db8:0:%x::/64", id(s)), id(s))
	return s
}

func list(v any) []any {
	l, _ := v.([]any)
	return l
}

func (c *cloud) newIP(kind, ip string, server int64) obj {
	o := obj{
		"id": c.number(), "name": fmt.Sprintf("primary_ip-%d", c.next), "type": kind, "ip": ip, "assignee_id": server, "assignee_type": "server", "auto_delete": true,
		"blocked": false, "created": created, "dns_ptr": []any{}, "labels": obj{}, "location": falkenstein, "protection": obj{"delete": false},
		"datacenter": datacenter,
	}
	c.kinds["primary_ips"] = append(c.kinds["primary_ips"], o)
	return o
}

// joinServer puts what other resources say of a server into it.
func (c *cloud) joinServer(s obj) {
	s["locked"] = n(s["_locks"]) > 0
	net := obj{"ipv4": nil, "ipv6": nil, "floating_ips": []any{}}
	for _, ip := range c.kinds["primary_ips"] {
		if n(ip["assignee_id"]) != id(s) {
			continue
		}
		pointers := any("x.example.com")
		if ip["type"] == "ipv6" {
			pointers = []any{}
		}
		net[ip["type"].(string)] = obj{"id": ip["id"], "ip": ip["ip"], "blocked": false, "dns_ptr": pointers}
	}
	walls := []any{}
	for _, f := range c.kinds["firewalls"] {
		for _, at := range list(f["applied_to"]) {
			if n(at.(obj)["server"].(obj)["id"]) == id(s) {
				status := "applied"
				if f["_pending"] != nil && f["_pending"].(obj)[fmt.Sprint(id(s))] != nil {
					status = "pending"
				}
				walls = append(walls, obj{"id": f["id"], "status": status})
			}
		}
	}
	net["firewalls"] = walls
	volumes := []any{}
	for _, v := range c.attached(s) {
		volumes = append(volumes, v["id"])
	}
	s["public_net"], s["volumes"] = net, volumes
}

// boot is the end of a start. Only a stock system is a real machine here.
func (c *cloud) boot(s obj) {
	for _, f := range c.kinds["firewalls"] {
		if f["_pending"] != nil && f["_pending"].(obj)[fmt.Sprint(id(s))] != nil {
			c.t.Errorf("the server %s runs before its firewall is in force", s["name"])
		}
	}
	s["status"] = "running"
	if !isStock(s) {
		c.startsOurs(s)
		return
	}
	volumes := []int64{}
	for _, v := range c.attached(s) {
		volumes = append(volumes, id(v))
	}
	for _, ip := range c.kinds["primary_ips"] {
		if ip["type"] == "ipv4" && n(ip["assignee_id"]) == id(s) {
			var keys []string
			for _, k := range list(s["_keys"]) {
				keys = append(keys, k.(string))
			}
			c.lab.boot(id(s), ip["ip"].(string), fmt.Sprint(s["_user_data"]), keys, volumes)
		}
	}
}

func (c *cloud) serverAction(w http.ResponseWriter, r *http.Request) {
	s := c.get(r, "servers")
	var action obj
	out := obj{}
	switch r.PathValue("action") {
	case "poweron":
		if s["status"] == "running" {
			action = c.act("start_server", nil, "server", id(s))
			break
		}
		s["status"] = "starting"
		action = c.act("start_server", func() { c.boot(s) }, "server", id(s))
	case "poweroff", "shutdown":
		s["status"] = "stopping"
		action = c.act("stop_server", func() { s["status"] = "off"; c.lab.kill(id(s)) }, "server", id(s))
	case "create_image":
		if s["status"] != "off" {
			c.t.Errorf("a snapshot of a server that is %s", s["status"])
		}
		in := read(r)
		i := c.newImage("snapshot", in["description"].(string), "x86")
		i["labels"], i["created_from"], i["disk_size"] = labelsIn(in), obj{"id": s["id"], "name": s["name"]}, s["server_type"].(obj)["disk"]
		action = c.act("create_image", func() {
			i["status"], i["image_size"], i["_sha256"] = "available", 0.3, c.lab.disk(id(s))
		}, "server", id(s), "image", id(i))
		out["image"] = c.shown("images", i)
	default:
		panic(apiError{404, "not_found"})
	}
	out["action"] = action
	answer(w, 201, out)
}

func (c *cloud) deleteServer(w http.ResponseWriter, r *http.Request) {
	s := c.get(r, "servers")
	s["status"] = "deleting"
	action := c.act("delete_server", func() {
		c.drop("servers", s)
		c.lab.kill(id(s))
		c.kinds["primary_ips"] = slices.DeleteFunc(c.kinds["primary_ips"], func(ip obj) bool { return n(ip["assignee_id"]) == id(s) && ip["auto_delete"] == true })
		for _, f := range c.kinds["firewalls"] {
			f["applied_to"] = slices.DeleteFunc(list(f["applied_to"]), func(at any) bool { return n(at.(obj)["server"].(obj)["id"]) == id(s) })
		}
		for _, v := range c.attached(s) {
			v["server"] = nil
		}
	}, "server", id(s))
	answer(w, 200, obj{"action": action})
}

func (c *cloud) createKey(w http.ResponseWriter, r *http.Request) {
	in := read(r)
	c.unique("ssh_keys", in["name"])
	public, _, _, _, err := ssh.ParseAuthorizedKey([]byte(in["public_key"].(string)))
	refuseIf(err != nil, 422, "invalid_input")
	fingerprint := ssh.FingerprintLegacyMD5(public)
	for _, k := range c.kinds["ssh_keys"] {
		refuseIf(k["fingerprint"] == fingerprint, 409, "uniqueness_error")
	}
	k := obj{"id": c.number(), "name": in["name"], "public_key": in["public_key"], "fingerprint": fingerprint, "labels": labelsIn(in), "created": created}
	c.kinds["ssh_keys"] = append(c.kinds["ssh_keys"], k)
	answer(w, 201, obj{"ssh_key": k})
}
