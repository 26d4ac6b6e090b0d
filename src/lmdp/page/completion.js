// Completes tables and columns in a SQL editor: `tables` has [name, type, meaning] of each column by table.
(async ([id, tables]) => {
  const CM = await import("nicegui-codemirror");
  while (!getElement(id)?.editor) await new Promise((resolve) => setTimeout(resolve, 100));
  const editor = getElement(id).editor;
  const all = Object.entries(tables);
  function complete(context) {
    const word = context.matchBefore(/"?\w+/);
    if (!word && !context.explicit) return null;
    const isLower = word && word.text === word.text.toLowerCase();
    const text = context.state.doc.toString().toUpperCase();
    const named = all.filter(([name]) => new RegExp(`\\b${name}\\b`).test(text));
    const spelled = (name) => (/^\w+$/.test(name) && name === name.toUpperCase() ? (isLower ? name.toLowerCase() : name) : `"${name}"`);
    const options = all.map(([name, { about }]) => ({ label: spelled(name), type: "class", detail: "table", info: about }));
    const seen = new Set();
    for (const [, { columns }] of named.length ? named : all)
      for (const [name, type, about] of columns)
        if (!seen.has(name)) {
          seen.add(name);
          options.push({ label: spelled(name), type: "property", detail: type, info: about, boost: named.length ? 2 : 0 });
        }
    return { from: word ? word.from : context.pos, options, validFor: /^"?\w*$/ };
  }
  const source = CM.EditorState.languageData.of(() => [{ autocomplete: complete }]);
  editor.dispatch({ effects: CM.StateEffect.appendConfig.of(source) });
})
