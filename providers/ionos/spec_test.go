package ionos

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// object is one of JSON's.
type object = map[string]any

// specification writes IONOS' document of 2023 with what was added since, and what it
// was wrong about, and returns the file's name. Sources are the models of
// github.com/ionos-cloud/sdk-go v6.3.11, which are made from the newer document.
func specification(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile("testdata/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	var doc object
	if err := json.Unmarshal(data, &doc); err != nil {
		t.Fatal(err)
	}
	schemas := doc["components"].(object)["schemas"].(object)
	properties := func(schema string) object { return schemas[schema].(object)["properties"].(object) }
	boolean, text := object{"type": "boolean"}, object{"type": "string", "nullable": true}
	texts := object{"type": "array", "nullable": true, "items": object{"type": "string"}}

	// "type" is said to be an object; its values are strings, such as "server".
	for name := range schemas {
		if p, ok := schemas[name].(object)["properties"].(object); ok {
			if p["type"] != nil && p["type"].(object)["allOf"] != nil {
				p["type"] = object{"type": "string"}
			}
		}
	}

	// The pattern of the header Location is "[apiBaseUri]" and so on: a text for people.
	for _, item := range doc["paths"].(object) {
		for _, operation := range item.(object) {
			if o, ok := operation.(object); ok {
				for _, response := range o["responses"].(object) {
					if headers, ok := response.(object)["headers"].(object); ok && headers["Location"] != nil {
						delete(headers["Location"].(object)["schema"].(object), "pattern")
					}
				}
			}
		}
	}

	// Rules are made with their card, which the document calls read-only there: IONOS'
	// Terraform provider makes servers so (resource_server.go).
	delete(properties("FirewallRules")["items"].(object), "readOnly")

	// IPv6 came to rules, networks and cards, and rules got more protocols.
	rule := properties("FirewallruleProperties")
	rule["ipVersion"] = object{"type": "string", "nullable": true, "enum": []any{"IPv4", "IPv6", nil}}
	rule["protocol"].(object)["enum"] = []string{"TCP", "UDP", "ICMP", "ICMPv6", "GRE", "VRRP", "ESP", "AH", "ANY"}
	rule["sourceIp"], rule["targetIp"] = text, text
	for _, end := range []string{"portRangeStart", "portRangeEnd"} {
		rule[end].(object)["maximum"] = 65535
		rule[end].(object)["nullable"] = true
	}
	card := properties("NicProperties")
	card["ipv6Ips"], card["ipv6CidrBlock"], card["dhcpv6"] = texts, text, object{"type": "boolean", "nullable": true}
	properties("LanProperties")["ipv6CidrBlock"] = text
	properties("LanPropertiesPost")["ipv6CidrBlock"] = text

	// Images say what firmware they need.
	image := properties("ImageProperties")
	image["requireLegacyBios"], image["exposeSerial"] = boolean, boolean

	// A CD-ROM is attached by its id, which the document calls read-only.
	byID := object{"type": "object", "required": []string{"id"}, "properties": object{"id": object{"type": "string"}}, "additionalProperties": false}
	properties("Cdroms")["items"].(object)["items"] = object{"anyOf": []any{object{"$ref": "#/components/schemas/Image"}, byID}}
	attach := doc["paths"].(object)["/datacenters/{datacenterId}/servers/{serverId}/cdroms"].(object)["post"].(object)
	attach["requestBody"].(object)["content"].(object)["application/json"].(object)["schema"] = byID

	// So is a volume.
	attach = doc["paths"].(object)["/datacenters/{datacenterId}/servers/{serverId}/volumes"].(object)["post"].(object)
	attach["requestBody"].(object)["content"].(object)["application/json"].(object)["schema"] = byID

	if data, err = json.Marshal(doc); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "openapi.json")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}
