package ionos

import (
	"fmt"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"slices"
)

// ingest makes images of files, as IONOS does some time after they came.
func (c *cloud) ingest(now bool) {
	for _, folder := range []string{diskFolder, discFolder} {
		list, err := os.ReadDir(c.ftp.path(folder))
		if err != nil {
			c.t.Error(err)
		}
		for _, e := range list {
			info, err := e.Info()
			if err != nil || slices.ContainsFunc(c.state.Images, func(i object) bool { return nameOf(i) == e.Name() }) {
				continue
			}
			if c.state.Pending[e.Name()]++; c.state.Pending[e.Name()] < 3 && !now {
				continue
			}
			kind, size := "HDD", math.Ceil(float64(info.Size())/gib)
			if folder == discFolder || filepath.Ext(e.Name()) == ".img" {
				kind, size = "CDROM", 0 // rounded
			}
			c.state.Images = append(c.state.Images, resource(c.id(), "image", "AVAILABLE", object{
				"name": e.Name(), "size": size, "imageType": kind, "location": "de/fra", "public": false,
				"licenceType": "UNKNOWN", "cloudInit": "V1", "requireLegacyBios": true,
			}))
		}
	}
}

func (c *cloud) images(w http.ResponseWriter, method string, path []string, body object) {
	if len(path) == 0 {
		if c.ftp != nil {
			c.ingest(false)
		}
		c.list(w, c.state.Images)
		return
	}
	image := byID(c.state.Images, path[0])
	if image == nil {
		c.missing(w)
		return
	}
	switch method {
	case "GET":
		c.answer(w, 200, image)
	case "PATCH":
		c.accept(w, "PATCH images", "", image, func() { merge(props(image), body) })
	case "DELETE":
		c.accept(w, "DELETE images", "", nil, func() { props(image)["size"] = 0 })
	}
}

func (c *cloud) blocks(w http.ResponseWriter, method string, path []string, body object) {
	if len(path) == 0 {
		if method == "GET" {
			c.list(w, c.state.Blocks)
			return
		}
		c.state.Next++
		b := resource(c.id(), "ipblock", "BUSY", body["properties"])
		props(b)["ips"] = []string{fmt.Sprintf("203.0.113.%d", c.state.Next%250)}
		c.state.Blocks = append(c.state.Blocks, b)
		c.accept(w, "POST ipblocks", "", b, func() { setState(b, "AVAILABLE") })
		return
	}
	block := byID(c.state.Blocks, path[0])
	if block == nil {
		c.missing(w)
		return
	}
	switch method {
	case "GET":
		c.answer(w, 200, block)
	case "PATCH":
		if c.fail["PATCH ipblocks"] == "" {
			setState(block, "BUSY")
		}
		c.accept(w, "PATCH ipblocks", "", block, func() {
			merge(props(block), body)
			setState(block, "AVAILABLE")
		})
	case "DELETE":
		if c.uses(block) {
			c.say(w, 422, "The IP block has addresses that are used")
			return
		}
		c.accept(w, "DELETE ipblocks", "", nil, func() { c.state.Blocks = without(c.state.Blocks, path[0]) })
	}
}

// texts are a list of JSON's strings.
func texts(v any) (list []string) {
	switch v := v.(type) {
	case []string:
		return v
	case []any:
		for _, one := range v {
			list = append(list, fmt.Sprint(one))
		}
	}
	return list
}

func (c *cloud) uses(block object) bool {
	for _, d := range c.state.Centers {
		for _, m := range d.Servers {
			for _, card := range m.Cards {
				for _, ip := range texts(props(card.Object)["ips"]) {
					if slices.Contains(texts(props(block)["ips"]), ip) {
						return true
					}
				}
			}
		}
	}
	return false
}
