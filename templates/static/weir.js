/* What the pages do beyond links and forms. Everything here is a convenience: all of it works without this file. */
(function () {
  "use strict";
  var doc = document;

  /* --- The viewer's time zone, for times that the server writes; and ages that stay true ------------------------- */
  try {
    var zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
    if (zone && doc.cookie.indexOf("weir_tz=" + zone) < 0) {
      doc.cookie = "weir_tz=" + zone + ";path=/;max-age=31536000;samesite=lax";
    }
  } catch (problem) { /* the server's zone it is */ }

  function ago(seconds) {
    if (seconds < 10) { return "just now"; }
    var units = [[86400, "day"], [3600, "hour"], [60, "minute"], [1, "second"]];
    for (var i = 0; i < units.length; i += 1) {
      if (seconds >= units[i][0]) {
        var number = Math.floor(seconds / units[i][0]);
        return number + " " + units[i][1] + (number === 1 ? "" : "s") + " ago";
      }
    }
    return "just now";
  }
  setInterval(function () {
    doc.querySelectorAll("time[data-ago]").forEach(function (time) {
      var words = ago((Date.now() - Date.parse(time.dateTime)) / 1000);
      if (time.textContent !== words) { time.textContent = words; }
    });
  }, 15000);

  /* --- Swapping what changed, and only that ---------------------------------------------------------------------- */
  function patch(old, fresh) {
    // The server says “keep” in place of a part that has not changed.
    if (fresh.nodeType === 1 && fresh.hasAttribute("data-keep") || old.isEqualNode(fresh)) { return; }
    var sameKind = old.nodeType === fresh.nodeType && old.nodeName === fresh.nodeName && old.id === fresh.id;
    if (!sameKind) { old.replaceWith(fresh); return; }
    if (old.nodeType !== 1) { old.nodeValue = fresh.nodeValue; return; }
    patchAttributes(old, fresh);
    var now = Array.from(old.childNodes), next = Array.from(fresh.childNodes);
    next.forEach(function (child, index) {
      if (index < now.length) { patch(now[index], child); } else { old.appendChild(child); }
    });
    now.slice(next.length).forEach(function (child) { child.remove(); });
  }
  function patchAttributes(old, fresh) {
    Array.from(fresh.attributes).forEach(function (attribute) {
      if (old.getAttribute(attribute.name) !== attribute.value) { old.setAttribute(attribute.name, attribute.value); }
    });
    Array.from(old.attributes).forEach(function (attribute) {
      // Whether a menu is open, and what htmx notes on its elements, is nothing that the server knows.
      var ours = attribute.name === "open" || attribute.name === "class" && old.nodeName === "FORM";
      if (!fresh.hasAttribute(attribute.name) && !ours) { old.removeAttribute(attribute.name); }
    });
  }
  if (window.htmx) {
    window.htmx.defineExtension("patch", {
      isInlineSwap: function (style) { return style === "patch"; },
      handleSwap: function (style, target, fragment) {
        if (style !== "patch") { return false; }
        var fresh = fragment.firstElementChild;
        if (fresh) { patch(target, fresh); announce(target); }
        return [];
      }
    });
  }

  /* --- Live parts: quiet while the tab is hidden, honest when the line is cut ------------------------------------ */
  doc.addEventListener("htmx:beforeRequest", function (event) {
    if (doc.hidden && event.detail.elt.matches("[data-live]")) { event.preventDefault(); }
  });
  doc.addEventListener("visibilitychange", function () {
    if (doc.hidden || !window.htmx) { return; }
    doc.querySelectorAll("[data-live][hx-get]").forEach(function (part) { window.htmx.trigger(part, "look"); });
  });
  function cut(isCut) {
    doc.querySelectorAll("[data-cut]").forEach(function (note) { note.hidden = !isCut; });
  }
  ["htmx:sendError", "htmx:responseError", "htmx:timeout"].forEach(function (name) {
    doc.addEventListener(name, function (event) { if (event.detail.elt.matches("[data-live]")) { cut(true); } });
  });
  doc.addEventListener("htmx:afterOnLoad", function (event) {
    if (event.detail.elt.matches("[data-live]")) { cut(false); }
  });
  var said = "", saidAt = 0;
  function announce(part) {
    var box = doc.getElementById("announcer"), line = part.querySelector("[data-announce]");
    if (!box || !line) { return; }
    var words = line.textContent.trim(), final = !part.hasAttribute("hx-get") || part.hasAttribute("data-final");
    if (words !== said && (final || Date.now() - saidAt > 15000)) {
      said = words; saidAt = Date.now(); box.textContent = words;
    }
  }

  /* --- Dialogs, toasts, menus, copying, search ------------------------------------------------------------------- */
  doc.addEventListener("click", function (event) {
    var opener = event.target.closest("[data-dialog]");
    if (opener) {
      var dialog = doc.getElementById(opener.dataset.dialog);
      if (dialog && dialog.showModal) { event.preventDefault(); dialog.showModal(); }
      return;
    }
    var closer = event.target.closest("[data-close]");
    if (closer) {
      var box = closer.closest("dialog");
      if (box) { event.preventDefault(); box.close(); } else { closer.closest(".toast").remove(); }
      return;
    }
    var copier = event.target.closest("[data-copy]");
    if (copier) { copy(copier); return; }
    doc.querySelectorAll("details.menu[open]").forEach(function (menu) {
      if (!menu.contains(event.target)) { menu.open = false; }
    });
  });
  function copy(button) {
    var source = doc.getElementById(button.dataset.copy), words = button.querySelector("span") || button;
    navigator.clipboard.writeText(source.textContent.trim()).then(function () {
      words.textContent = "Copied";
    }, function () {
      var range = doc.createRange();
      range.selectNodeContents(source);
      var selection = window.getSelection();
      selection.removeAllRanges(); selection.addRange(range);
      words.textContent = "Press Ctrl+C";
    });
  }
  doc.querySelectorAll("[data-close][hidden], [data-copy][hidden]").forEach(function (button) { button.hidden = false; });
  doc.querySelectorAll("[data-save]").forEach(function (link) {
    var lines = Array.from(doc.getElementById(link.dataset.save).children, function (item) { return item.textContent.trim(); });
    link.href = "data:text/plain;charset=utf-8," + encodeURIComponent(lines.join("\n") + "\n");
    link.hidden = false;
  });

  /* --- Passkeys: offered where the browser knows them; what went wrong is said on the page --------------------------- */
  if (window.PublicKeyCredential) {
    doc.querySelectorAll("[data-passkeys]").forEach(function (part) { part.hidden = false; });
  }
  doc.addEventListener("DOMContentLoaded", function () {  // allauth's script comes after this one
    doc.querySelectorAll("form[data-passkey]").forEach(function (form) {
      var given = form.dataset, ids = { credential: given.credential, passwordless: "id_passwordless" };
      ids[given.passkey] = given.button;
      window.allauth.webauthn.forms[given.passkey + "Form"]({ ids: ids, data: JSON.parse(given.options || "{}") });
    });
  });
  doc.addEventListener("allauth.error", function (event) {
    var words = doc.querySelector("[data-passkey-error]");
    if (words) { event.preventDefault(); words.hidden = false; }
  });

  doc.addEventListener("keydown", function (event) {
    var typing = event.target.closest("input, textarea, select, [contenteditable]");
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
      var box = doc.querySelector("[data-search]");
      if (box && box.offsetParent) { event.preventDefault(); box.focus(); box.select(); }
    } else if (event.key === "Escape") {
      doc.querySelectorAll("details.menu[open]").forEach(function (menu) {
        menu.open = false; menu.querySelector("summary").focus();
      });
    }
  });
  setTimeout(function () {
    doc.querySelectorAll(".toast:not(.is-error)").forEach(function (toast) {
      if (!toast.matches(":hover, :focus-within")) { toast.remove(); }
    });
  }, 8000);

  /* --- A form that starts work is sent once ---------------------------------------------------------------------- */
  doc.addEventListener("submit", function (event) {
    var form = event.target;
    if (!form.matches("[data-once]")) { return; }
    if (form.dataset.sent) { event.preventDefault(); return; }
    form.dataset.sent = "1";
    var button = form.querySelector("button:not([type=button])");
    if (button) { button.classList.add("is-busy"); button.textContent = form.dataset.once; }
  });
  window.addEventListener("pageshow", function (event) {
    if (event.persisted && doc.querySelector("[data-sent]")) { location.reload(); }
  });

  /* --- Choosing a file: named at once, refused at once where it cannot be, its way shown ------------------------- */
  function size(bytes) {
    if (bytes < 1000) { return bytes + " bytes"; }
    return bytes < 1e6 ? Math.round(bytes / 1e3) + " kB" : (bytes / 1e6).toFixed(1) + " MB";
  }
  doc.querySelectorAll("[data-drop]").forEach(function (drop) {
    var input = drop.querySelector("input[type=file]"), form = drop.closest("form");
    var name = drop.querySelector("[data-file-name]"), note = drop.querySelector("[data-file-note]");
    var errors = doc.getElementById(form.dataset.errors), most = Number(drop.dataset.most);
    var idle = [name.textContent, note.textContent];
    ["dragenter", "dragover"].forEach(function (kind) {
      drop.addEventListener(kind, function () { drop.classList.add("is-over"); });
    });
    ["dragleave", "drop"].forEach(function (kind) {
      drop.addEventListener(kind, function () { drop.classList.remove("is-over"); });
    });
    input.addEventListener("change", function () {
      var file = input.files[0];
      name.textContent = file ? file.name : idle[0];
      note.textContent = file ? size(file.size) : idle[1];
      errors.replaceChildren();
      if (file && file.size > most) { tooLarge(file); }
    });
    function tooLarge(file) {
      var template = doc.getElementById("too-large").content.cloneNode(true);
      template.querySelector("[data-size]").textContent = size(file.size);
      errors.replaceChildren(template);
    }
    form.addEventListener("htmx:beforeRequest", function (event) {
      var file = input.files[0];
      if (file && file.size > most) { event.preventDefault(); tooLarge(file); }
    });
    var progress = form.querySelector("[data-upload-progress]");
    form.addEventListener("htmx:xhr:progress", function (event) {
      if (!event.detail.lengthComputable || !progress) { return; }
      var share = event.detail.loaded / event.detail.total;
      progress.hidden = false;
      progress.querySelector("progress").value = share;
      progress.querySelector("[data-words]").textContent = share < 1 ?
        "Uploading: " + Math.round(share * 100) + "% of " + size(event.detail.total) : "Reading the rows …";
    });
    form.addEventListener("htmx:afterRequest", function (event) {
      if (progress && !event.detail.xhr.getResponseHeader("HX-Redirect")) { progress.hidden = true; }
      if (!event.detail.xhr.status) { errors.replaceChildren(doc.getElementById("line-cut").content.cloneNode(true)); }
    });
  });
})();
