// Keys for what has a data-key; typing in a field is left alone, Escape leaves the field.
document.addEventListener("keydown", (event) => {
  const typing = event.target.matches("input:not([type=checkbox])");
  if (typing && event.key === "Escape") event.target.blur();
  if (typing || event.ctrlKey || event.altKey || event.metaKey) return;
  const chosen = document.querySelector(`[data-key="${CSS.escape(event.key.toLowerCase())}"]`);
  if (!chosen) return;
  event.preventDefault();
  if (chosen.matches("input:not([type=checkbox])")) chosen.focus();
  else chosen.click();
});
