package fake

import "github.com/getkin/kin-openapi/openapi3"

// closeObjects forbids members that an object's schema does not list. Objects that
// are put together of several schemas stay open, as each of these sees all members.
func closeObjects(doc *openapi3.T) {
	c := closer{seen: map[*openapi3.Schema]bool{}, parts: map[*openapi3.Schema]bool{}}
	for _, item := range doc.Paths.Map() {
		for _, operation := range item.Operations() {
			if operation.RequestBody != nil && operation.RequestBody.Value != nil {
				c.content(operation.RequestBody.Value.Content)
			}
			for _, response := range operation.Responses.Map() {
				if response.Value != nil {
					c.content(response.Value.Content)
				}
			}
		}
	}
	for schema := range c.seen {
		if len(schema.Properties) > 0 && !c.parts[schema] && !composed(schema) && schema.AdditionalProperties.Has == nil && schema.AdditionalProperties.Schema == nil {
			no := false
			schema.AdditionalProperties.Has = &no
		}
	}
}

type closer struct {
	seen  map[*openapi3.Schema]bool
	parts map[*openapi3.Schema]bool // of others
}

func composed(s *openapi3.Schema) bool { return len(s.AllOf)+len(s.AnyOf)+len(s.OneOf) > 0 }

func (c closer) content(content openapi3.Content) {
	for _, media := range content {
		c.walk(media.Schema)
	}
}

func (c closer) walk(ref *openapi3.SchemaRef) {
	if ref == nil || ref.Value == nil || c.seen[ref.Value] {
		return
	}
	s := ref.Value
	c.seen[s] = true
	for _, list := range []openapi3.SchemaRefs{s.AllOf, s.AnyOf, s.OneOf} {
		for _, part := range list {
			c.walk(part)
			// One alone is how OpenAPI 3.0 puts words beside a reference.
			if (len(list) > 1 || len(s.Properties) > 0) && part.Value != nil {
				c.parts[part.Value] = true
			}
		}
	}
	for _, property := range s.Properties {
		c.walk(property)
	}
	c.walk(s.Items)
	c.walk(s.AdditionalProperties.Schema)
}
