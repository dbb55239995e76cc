package ionos

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// keepsState reports whether a volume was made of an image for the state.
func (c *cloud) keepsState(volume object) bool {
	image, _ := props(volume)["image"].(string)
	made := byID(c.state.Images, image)
	return made != nil && strings.HasPrefix(nameOf(made), "ingot-state-")
}

// bootable reports whether volumes can belong to one server (VolumeProperties.bootOrder).
func bootable(list []object) bool {
	primary, none := 0, 0
	for _, v := range list {
		switch props(v)["bootOrder"] {
		case "PRIMARY":
			primary++
		case "NONE":
			none++
		}
	}
	return primary == 0 || primary == 1 && none == len(list)-1
}

// attachments are the volumes of a server. None may come or go while it runs.
func (c *cloud) attachments(w http.ResponseWriter, d *center, m *machine, method string, path []string, body object) {
	dc := idOf(d.Object)
	if method != "GET" && props(m.Object)["vmState"] != "SHUTOFF" {
		c.t.Errorf("%s gets or loses a volume while it runs", nameOf(m.Object))
	}
	var all []object
	for _, id := range m.Volumes {
		all = append(all, byID(d.Volumes, id))
	}
	switch method {
	case "GET":
		c.list(w, all)
	case "POST":
		volume := byID(d.Volumes, idOf(body))
		switch {
		case volume == nil:
			c.missing(w)
			return
		case slices.ContainsFunc(d.Servers, func(m *machine) bool { return slices.Contains(m.Volumes, idOf(body)) }):
			c.say(w, 422, "The volume is attached to a server")
			return
		case !bootable(append(all, volume)):
			c.say(w, 422, "All volumes beside the one with the boot order PRIMARY must have NONE")
			return
		}
		c.accept(w, "POST volumes", dc, volume, func() {
			m.Volumes = append(m.Volumes, idOf(body))
			if c.mistakesBoot {
				props(m.Object)["bootVolume"] = object{"id": idOf(body)}
			}
		})
	case "DELETE":
		if !slices.Contains(m.Volumes, path[0]) {
			c.missing(w)
			return
		}
		c.accept(w, "DELETE attachment", dc, nil, func() {
			m.Volumes = slices.DeleteFunc(m.Volumes, func(id string) bool { return id == path[0] })
		})
	}
}

// power switches a server on or off. Its address goes with that when it is not a
// reserved one, and another comes.
func (c *cloud) power(w http.ResponseWriter, d *center, m *machine, what string) {
	off := props(m.Object)["vmState"] == "SHUTOFF"
	if off == (what == "stop") {
		c.say(w, 422, "The server is in this state")
		return
	}
	c.accept(w, "POST "+what, idOf(d.Object), nil, func() {
		for _, card := range m.Cards {
			ips := texts(props(card.Object)["ips"])
			if what == "stop" {
				ips = slices.DeleteFunc(ips, func(ip string) bool { return !c.reserved(ip) })
			} else if len(ips) == 0 {
				c.state.Next++
				ips = []string{fmt.Sprintf("198.51.100.%d", c.state.Next%250)}
			}
			props(card.Object)["ips"] = ips
		}
		if what == "stop" {
			props(m.Object)["vmState"] = "SHUTOFF"
			setState(m.Object, "INACTIVE")
			return
		}
		setState(m.Object, "AVAILABLE")
		c.boot(d, m)
	})
}

func (c *cloud) reserved(ip string) bool {
	return slices.ContainsFunc(c.state.Blocks, func(b object) bool { return slices.Contains(texts(props(b)["ips"]), ip) })
}

// dawdle has what is to be carried out take longer than a few requests.
func (c *cloud) dawdle() {
	for _, q := range c.waiting {
		q.left += 20
	}
}
